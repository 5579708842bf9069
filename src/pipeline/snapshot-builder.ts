/** Builds snapshots from specs, one after another, keeping what must not change between them: ids, tables, previous tables. */
import { formatAddress, prefixContains } from '../base/address.ts';
import { MAX_BACKENDS, MAX_SERVICES } from '../base/counters.ts';
import { CodedError } from '../base/errors.ts';
import { fragmentRules } from './fragment-rules.ts';
import { policyWord } from './header-policy.ts';
import { writeIcmp } from './icmp-policy.ts';
import { IdentityRegistry, type SavedIdentities } from './identity.ts';
import * as L from './layout.ts';
import { outerTemplate, TEMPLATE_BYTES } from './outer-template.ts';
import {
  contentOf,
  type PoolHistory,
  type PoolTable,
  PREVIOUS_SECONDS,
  PREVIOUS_SECONDS_OTHERS,
  poolTable,
  restoredHistory,
  type SavedPool,
  savedPool,
} from './pool-history.ts';
import { protocolBits, quicWord, serverIdTable } from './protocol-words.ts';
import { buildIndex, type IndexParts } from './service-index.ts';
import type { SnapshotNames, SnapshotParts } from './snapshot.ts';
import { type BackendSpec, DEFAULT_HEADERS, type MssClamp, type PoolSpec, type ServiceSpec, type Spec } from './spec.ts';
import { movedShare } from './table-moves.ts';
import { spreadMask, tunnelEnds, tunnelSource } from './tunnel-ends.ts';
import { hasUdp, KINDS, mostExtraOf, mostOverheadOf, outerPorts } from './tunnel-kind.ts';

const AFFINITY = {
  '5-tuple': L.AFFINITY_TUPLE,
  '3-tuple': L.AFFINITY_ADDRESSES,
  'source-address': L.AFFINITY_SOURCE,
  ports: L.AFFINITY_PORTS,
  none: L.AFFINITY_NONE,
} as const;
const OVERSIZE = {
  segment: L.OVERSIZE_SEGMENT,
  'segment-and-tell': L.OVERSIZE_SEGMENT_AND_TELL,
  icmp: L.OVERSIZE_ICMP,
  'fragment-inner': L.OVERSIZE_FRAGMENT_INNER,
  'fragment-outer': L.OVERSIZE_FRAGMENT_OUTER,
  drop: L.OVERSIZE_DROP,
} as const;
const CHECKSUM = { all: L.CHECKSUM_ALL, trains: L.CHECKSUM_TRAINS, none: L.CHECKSUM_NONE, remote: L.CHECKSUM_REMOTE } as const;
const FRAGMENTS = { hold: L.FRAGMENTS_HOLD, 'by-address': L.FRAGMENTS_BY_ADDRESS, drop: L.FRAGMENTS_DROP } as const;
const STATE = { active: L.STATE_SERVING, draining: L.STATE_DRAINING, down: L.STATE_DOWN } as const;

interface NumberedBackend {
  readonly id: number;
  readonly since: number;
  readonly pool: number;
  readonly spec: BackendSpec;
  readonly poolSpec: PoolSpec;
}

/** What a builder must know after a restart so that flows stay: which id names which backend, and of what the pools' tables were made. */
export interface SavedState {
  readonly backends: SavedIdentities;
  readonly services: SavedIdentities;
  readonly pools: readonly SavedPool[];
}

export class SnapshotBuilder {
  #generation = 0;
  readonly #backendIds = new IdentityRegistry(MAX_BACKENDS, 'backends');
  readonly #serviceIds = new IdentityRegistry(MAX_SERVICES, 'services');
  #histories = new Map<string, PoolHistory>();
  #tables = 0;

  /** Changes whenever `save` would answer otherwise than before in a way that matters for flows. */
  get changes(): string {
    return `${this.#backendIds.changes} ${this.#serviceIds.changes} ${this.#tables}`;
  }

  /** For `restore`. */
  save(): SavedState {
    const pools = [...this.#histories].flatMap(([name, history]) => savedPool(name, history) ?? []);
    return { backends: this.#backendIds.save(), services: this.#serviceIds.save(), pools };
  }

  /** Goes on where another builder was; before the first build. Throws RangeError when that can not be true: then build with a new one. */
  restore(saved: SavedState, now: number): void {
    this.#backendIds.restore(saved.backends);
    this.#serviceIds.restore(saved.services);
    this.#histories = new Map(saved.pools.map((pool) => [pool.name, restoredHistory(pool, now)]));
  }

  /**
   * `now`: seconds of the clock that the pipeline is given. Throws CodedError on a spec that contradicts itself, and RangeError on one
   * that no table can be built for; then nothing has changed, and the next build follows the last good one.
   */
  build(spec: Spec, now = 0): SnapshotParts {
    const pools = [...spec.pools].sort((a, b) => (a.name < b.name ? -1 : 1));
    const poolNumbers = new Map(pools.map((pool, i) => [pool.name, i]));
    this.#backendIds.begin();
    this.#serviceIds.begin();
    const backends = pools.flatMap((pool, number) => this.#number(pool, number, now));
    const services = spec.services.map((service) => {
      const pool = poolNumbers.get(service.pool);
      if (pool === undefined) {
        throw new CodedError('GD_SNAPSHOT_POOL', `service ${service.name} names pool ${service.pool}, which is not there`);
      }
      return { spec: service, pool, id: this.#serviceIds.claim(service.name, now).id };
    });
    this.#refuseLoops(spec.services, backends);
    const histories = new Map(pools.map((pool) => [pool.name, this.#historyOf(pool, backends, now)]));
    const index = buildIndex(
      services.map(({ spec: s }, service) => ({
        prefix: s.prefix,
        protocol: s.protocol,
        portFrom: s.portFrom,
        portTo: s.portTo,
        name: s.name,
        service,
      })),
    );
    const tables: SharedArrayBuffer[] = [];
    const generation = this.#generation + 1;
    const root = this.#writeRoot({ generation, pools, histories, services, backends, index, tables });
    writeIcmp(new Int32Array(root), spec.icmp);
    const names = this.#names(pools, histories, services, backends);

    this.#backendIds.commit(now);
    this.#serviceIds.commit(now);
    if (pools.some(({ name }) => histories.get(name)?.current !== this.#histories.get(name)?.current)) this.#tables++;
    this.#histories = histories;
    this.#generation = generation;
    return { generation, root, tables, names };
  }

  #number(poolSpec: PoolSpec, pool: number, now: number): NumberedBackend[] {
    return poolSpec.backends.map((spec) => {
      const { id, since } = this.#backendIds.claim(`${poolSpec.name}\0${spec.name}\0${formatAddress(spec.address)}`, now);
      return { id, since, pool, spec, poolSpec };
    });
  }

  /** The pool's history as it is while the table's content is the same; otherwise with a new table, the old one as `previous`. */
  #historyOf(pool: PoolSpec, backends: readonly NumberedBackend[], now: number): PoolHistory {
    const numbers = backends.filter((b) => b.poolSpec === pool);
    const content = contentOf(pool, numbers);
    const history = this.#histories.get(pool.name);
    if (history?.current.content === content) return history;
    const current = poolTable(pool, numbers, content);
    // GLB's directors keep no flows: what the row says is what its workers expect, from the first packet on.
    if (current.scheme.number === L.SCHEME_GLB) return { current, previous: null, changedAt: now };
    return { current, previous: history?.current ?? null, changedAt: now };
  }

  /** The last line of defence behind config's own loop guards: a service may not contain where its packets are sent to or from. */
  #refuseLoops(services: readonly ServiceSpec[], backends: readonly NumberedBackend[]): void {
    for (const service of services) {
      for (const { spec, poolSpec } of backends) {
        const { source4, source6, spread4 = 0, spread6 = 0 } = spec.tunnel ?? poolSpec.tunnel;
        const ends = [[spec.address], [source4, spread4], [source6, spread6], [spec.source ?? null]] as const;
        for (const [address, spread = 0] of ends) {
          if (address === null) continue;
          // Spread sources are a prefix of their own, which the service may lie in.
          const end = { bytes: address, length: address.length * 8 - spread };
          if (!prefixContains(service.prefix, address) && !prefixContains(end, service.prefix.bytes)) continue;
          throw new CodedError('GD_SNAPSHOT_LOOP', `service ${service.name} contains ${formatAddress(address)}, a tunnel end`, {
            hint: 'tunnel packets would be steered again: give the service another prefix',
          });
        }
      }
    }
  }

  #writeRoot(parts: {
    generation: number;
    histories: ReadonlyMap<string, PoolHistory>;
    pools: readonly PoolSpec[];
    services: readonly { spec: ServiceSpec; pool: number; id: number }[];
    backends: readonly NumberedBackend[];
    index: IndexParts;
    tables: SharedArrayBuffer[];
  }): SharedArrayBuffer {
    const { pools, services, backends, index, tables } = parts;
    const histories = pools.map((pool) => parts.histories.get(pool.name) as PoolHistory);
    const memberCount = histories.reduce((n, h) => n + h.current.members.length + (h.previous?.members.length ?? 0), 0);
    let length = L.HEADER_WORDS;
    const place = (words: number, alignment = 1): number => {
      length = Math.ceil(length / alignment) * alignment;
      const at = length;
      length += words;
      return at;
    };
    const lengths4At = place(index.lengths4.length);
    const lengths6At = place(index.lengths6.length);
    const index4At = place(index.index4.length, 16);
    const index6At = place(index.index6.length, 16);
    const intervalsAt = place(index.intervals.length);
    const rules = fragmentRules(
      index,
      services.map(({ spec, pool }) => ({ ...spec, poolNumber: pool })),
    );
    const rulesAt = place(rules.length);
    const servicesAt = place(services.length * L.SERVICE_WORDS, 16);
    const poolsAt = place(pools.length * L.POOL_WORDS, 16);
    const membersAt = place(memberCount);
    const schemesAt = place(pools.length * 2 * L.SCHEME_WORDS);
    const tunnels = tunnelEnds(pools);
    const tunnelsAt = place(tunnels.length * L.TUNNEL_WORDS);
    const backendsAt = place(this.#backendIds.limit * L.BACKEND_WORDS, 16);
    const serverIds = serverIdTable(backends);
    const serverIdsAt = place(serverIds.words.length, 16);

    const root = new SharedArrayBuffer(length * 4);
    const words = new Int32Array(root);
    const bytes = new Uint8Array(root);
    words[L.H_MAGIC] = L.ROOT_MAGIC;
    words[L.H_GENERATION] = parts.generation;
    words[L.H_WORDS] = length;
    words.set(index.lengths4, lengths4At);
    words.set(index.lengths6, lengths6At);
    words.set(index.index4, index4At);
    words.set(index.index6, index6At);
    words.set(index.intervals, intervalsAt);
    words[L.H_LENGTHS4] = lengths4At;
    words[L.H_LENGTHS4_COUNT] = index.lengths4.length;
    words[L.H_LENGTHS6] = lengths6At;
    words[L.H_LENGTHS6_COUNT] = index.lengths6.length;
    words[L.H_INDEX4] = index4At;
    words[L.H_INDEX4_MASK] = index.index4.length / L.INDEX4_WORDS - 1;
    words[L.H_INDEX6] = index6At;
    words[L.H_INDEX6_MASK] = index.index6.length / L.INDEX6_WORDS - 1;
    words[L.H_INTERVALS] = intervalsAt;
    words.set(rules, rulesAt);
    words[L.H_FRAGMENT_RULES] = rulesAt;
    words[L.H_SERVICES] = servicesAt;
    words[L.H_SERVICE_COUNT] = services.length;
    words[L.H_POOLS] = poolsAt;
    words[L.H_POOL_COUNT] = pools.length;
    words[L.H_MEMBERS] = membersAt;
    words[L.H_TUNNELS] = tunnelsAt;
    words[L.H_TUNNEL_COUNT] = tunnels.length;
    tunnels.forEach((end, i) => {
      words.set(end, tunnelsAt + i * L.TUNNEL_WORDS);
    });
    words[L.H_BACKENDS] = backendsAt;
    words[L.H_BACKEND_LIMIT] = this.#backendIds.limit;
    words.set(serverIds.words, serverIdsAt);
    words[L.H_SERVER_IDS] = serverIds.words.length === 0 ? 0 : serverIdsAt;
    words[L.H_PROTOCOLS] = serverIds.sizeBits | protocolBits(services.map(({ spec }) => spec));

    services.forEach(({ spec, pool, id }, i) => {
      const at = servicesAt + i * L.SERVICE_WORDS;
      words[at + L.S_POOL] = pool;
      words[at + L.S_AFFINITY] = AFFINITY[spec.affinity];
      words[at + L.S_ID] = id;
      words[at + L.S_OVERSIZE] = OVERSIZE[spec.oversize ?? 'segment'];
      words[at + L.S_ALL_PORTS] = hidesPort(spec) ? 1 : 0;
      words[at + L.S_MSS_CLAMP] = mssClampWord(spec.mssClamp ?? 'off');
      words[at + L.S_FRAGMENTS] = FRAGMENTS[spec.fragments ?? 'hold'];
      words[at + L.S_QUIC] = quicWord(spec.quic);
      if (words[at + L.S_MSS_CLAMP] !== 0) words[L.H_MSS_CLAMPS]++;
    });

    let memberAt = membersAt;
    const writeMembers = (table: PoolTable): number => {
      const at = memberAt;
      words.set(table.members, at);
      memberAt += table.members.length;
      return at;
    };
    const tableNumber = (table: PoolTable): number => {
      // A pool of which nobody has a slot has no table: every slot would be empty.
      if (table.slots.size === 0) return -1;
      const known = tables.indexOf(table.buffer);
      return known >= 0 ? known : tables.push(table.buffer) - 1;
    };
    histories.forEach(({ current, previous, changedAt }, i) => {
      const at = poolsAt + i * L.POOL_WORDS;
      words[at + L.P_SIZE] = current.size;
      words[at + L.P_SEED] = current.seed;
      words[at + L.P_TABLE] = tableNumber(current);
      words[at + L.P_MEMBERS] = writeMembers(current);
      words[at + L.P_PREVIOUS_SIZE] = previous?.size ?? 0;
      words[at + L.P_PREVIOUS_SEED] = previous?.seed ?? 0;
      words[at + L.P_PREVIOUS_TABLE] = previous === null ? -1 : tableNumber(previous);
      words[at + L.P_PREVIOUS_MEMBERS] = previous === null ? 0 : writeMembers(previous);
      words[at + L.P_SCHEME] = current.scheme.number;
      words[at + L.P_SCHEME_AT] = schemesAt + 2 * i * L.SCHEME_WORDS;
      words.set(current.scheme.words, words[at + L.P_SCHEME_AT]);
      // Without a previous table the number is the current one's, so that the choice need not look further.
      words[at + L.P_PREVIOUS_SCHEME] = (previous ?? current).scheme.number;
      words[at + L.P_PREVIOUS_SCHEME_AT] = words[at + L.P_SCHEME_AT] + L.SCHEME_WORDS;
      words.set((previous ?? current).scheme.words, words[at + L.P_PREVIOUS_SCHEME_AT]);
      if (current.scheme.number === L.SCHEME_GLB) words[L.H_STATELESS_POOLS]++;
      words[at + L.P_PREVIOUS_UNTIL] = changedAt + PREVIOUS_SECONDS;
      words[at + L.P_PREVIOUS_UNTIL_OTHERS] = changedAt + PREVIOUS_SECONDS_OTHERS;
    });

    for (let id = 0; id < this.#backendIds.limit; id++) words[backendsAt + id * L.BACKEND_WORDS + L.B_POOL] = -1;
    for (const { id, since, pool, spec, poolSpec } of backends) {
      const tunnel = spec.tunnel ?? poolSpec.tunnel;
      const { address: source, spread } = tunnelSource(poolSpec, spec);
      if (source === null) {
        throw new CodedError(
          'GD_SNAPSHOT_SOURCE',
          `pool ${poolSpec.name} has no tunnel source for ${formatAddress(spec.address)}`,
          {
            hint: `set tunnel.source.${spec.address.length === 4 ? 'ipv4' : 'ipv6'}`,
          },
        );
      }
      const template = outerTemplate(tunnel, source, spec.address);
      const at = backendsAt + id * L.BACKEND_WORDS;
      words[at + L.B_POOL] = pool;
      words[at + L.B_STATE] = STATE[spec.state];
      words[at + L.B_FAMILY] = template.family;
      words[at + L.B_OVERHEAD] = template.overhead;
      words[at + L.B_CHECKSUM] = CHECKSUM[template.checksum];
      words[at + L.B_HEADER_SUM] = template.headerSum;
      words[at + L.B_DATAGRAM_SUM] = template.datagramSum;
      words[at + L.B_SINCE] = since;
      words[at + L.B_KIND] = KINDS[tunnel.encapsulation];
      const shape = { family: template.family, hasPorts: hasUdp(tunnel.encapsulation), spread };
      words[at + L.B_POLICY] = policyWord(tunnel.headers ?? DEFAULT_HEADERS, shape);
      words[at + L.B_SPREAD] = ~spreadMask(spread);
      words[at + L.B_GENERAL] = template.plain && words[at + L.B_POLICY] === 0 ? 0 : 1;
      words[at + L.B_PORTS] = (tunnel.port << 16) | (tunnel.port6 ?? tunnel.port);
      words[at + L.B_MOST_EXTRA] = mostExtraOf(tunnel);
      words[L.H_MOST_OVERHEAD] = Math.max(words[L.H_MOST_OVERHEAD], mostOverheadOf(tunnel, spec.address.length));
      if (words[at + L.B_MOST_EXTRA] !== 0) words[L.H_TUNNEL_EXTRAS]++;
      bytes.set(template.bytes.subarray(0, TEMPLATE_BYTES), (at + L.B_TEMPLATE) * 4);
    }
    return root;
  }

  #names(
    pools: readonly PoolSpec[],
    histories: ReadonlyMap<string, PoolHistory>,
    services: readonly { spec: ServiceSpec; id: number }[],
    backends: readonly NumberedBackend[],
  ): SnapshotNames {
    const byId = new Map(services.map(({ spec, id }) => [id, { id, name: spec.name, pool: spec.pool }]));
    return {
      services: [...byId.values()],
      pools: pools.map((pool) => {
        const history = histories.get(pool.name) as PoolHistory;
        const { size, seed, digest } = history.current;
        const scheme = pool.scheme?.name ?? 'maglev';
        const previous = history.previous !== null;
        return { name: pool.name, scheme, tableSize: size, seed, digest, previous, moved: movedShare(history) };
      }),
      backends: backends.map(({ id, spec, poolSpec }) => {
        const tunnel = spec.tunnel ?? poolSpec.tunnel;
        return {
          id,
          pool: poolSpec.name,
          name: spec.name,
          address: formatAddress(spec.address),
          slots: histories.get(poolSpec.name)?.current.slots.get(id) ?? 0,
          state: spec.state,
          weight: spec.weight,
          encapsulation: tunnel.encapsulation,
          ports: outerPorts(tunnel),
          overhead: mostOverheadOf(tunnel, spec.address.length),
        };
      }),
    };
  }
}

/** Katran hashes port 0 for a VIP of all ports, and for what it finds by the prefix of an IPv6 VIP, whatever the port (balancer.bpf.c). */
function hidesPort({ portFrom, portTo, prefix }: ServiceSpec): boolean {
  return (portFrom === 0 && portTo === 65535) || (prefix.bytes.length === 16 && prefix.length < 128);
}

function mssClampWord(clamp: MssClamp): number {
  if (clamp === 'off') return 0;
  return clamp === 'auto' ? L.MSS_CLAMP_AUTO : clamp;
}
