/**
 * What a snapshot says of one pool's backends, worked out once for each pool object: while the same object is wanted, the next snapshot takes it as it is. In a
 * configuration of a thousand pools a change of one costs one.
 */
import { formatAddress } from '../base/address.ts';
import { CodedError } from '../base/errors.ts';
import type { Numbers } from './backend-identities.ts';
import { policyWord } from './header-policy.ts';
import * as L from './layout.ts';
import { outerTemplate } from './outer-template.ts';
import type { PoolTable } from './pool-history.ts';
import type { SnapshotNames } from './snapshot.ts';
import { type BackendSpec, DEFAULT_HEADERS, type PoolSpec, type TunnelSpec } from './spec.ts';
import { spreadMask, tunnelSource } from './tunnel-ends.ts';
import { hasUdp, KINDS, mostExtraOf, mostOverheadOf, outerPorts } from './tunnel-kind.ts';

const CHECKSUM = { all: L.CHECKSUM_ALL, trains: L.CHECKSUM_TRAINS, none: L.CHECKSUM_NONE, remote: L.CHECKSUM_REMOTE } as const;
const STATE = { active: L.STATE_SERVING, draining: L.STATE_DRAINING, down: L.STATE_DOWN } as const;
/** Place of the destination address in the template, bytes. */
const DESTINATION4 = 16;
const DESTINATION6 = 24;

/** A pool and the numbers of its backends. */
export interface PoolRecord {
  readonly spec: PoolSpec;
  readonly numbers: Numbers;
  /** Bytes that any of its tunnels adds at most to a packet. */
  readonly mostOverhead: number;
  /** Backends whose tunnels add something to single packets. */
  readonly extras: number;
  readonly hasServerIds: boolean;
}

export type NamedBackend = SnapshotNames['backends'][number];

/** Throws GD_SNAPSHOT_SOURCE when a backend's tunnel has no source. */
export function poolRecord(spec: PoolSpec, numbers: Numbers): PoolRecord {
  let mostOverhead = 0;
  let extras = 0;
  let hasServerIds = false;
  // Mostly one tunnel and family for a whole pool: what they add is worked out once.
  let known: TunnelSpec | null = null;
  let length = 0;
  let extra = 0;
  for (const backend of spec.backends) {
    const { address, tunnel = spec.tunnel } = backend;
    if (tunnelSource(spec, backend).address === null) {
      throw new CodedError('GD_SNAPSHOT_SOURCE', `pool ${spec.name} has no tunnel source for ${formatAddress(address)}`, {
        hint: `set tunnel.source.${address.length === 4 ? 'ipv4' : 'ipv6'}`,
      });
    }
    if (tunnel !== known || address.length !== length) {
      known = tunnel;
      length = address.length;
      extra = mostExtraOf(tunnel) === 0 ? 0 : 1;
      mostOverhead = Math.max(mostOverhead, mostOverheadOf(tunnel, length));
    }
    extras += extra;
    hasServerIds ||= backend.serverIds !== undefined;
  }
  return { spec, numbers, mostOverhead, extras, hasServerIds };
}

/** The names of a pool's backends, while its record and its table are these. */
export function namesOf({ spec, numbers }: PoolRecord, table: Pick<PoolTable, 'slotsOf'>): NamedBackend[] {
  const ports = outerPorts(spec.tunnel);
  const slots = table.slotsOf();
  return spec.backends.map((backend, i) => {
    const tunnel = backend.tunnel ?? spec.tunnel;
    const id = numbers.ids[i];
    return {
      id,
      pool: spec.name,
      name: backend.name,
      address: formatAddress(backend.address),
      slots: slots.get(id) ?? 0,
      state: backend.state,
      weight: backend.weight,
      encapsulation: tunnel.encapsulation,
      ports: tunnel === spec.tunnel ? ports : outerPorts(tunnel),
      overhead: mostOverheadOf(tunnel, backend.address.length),
    };
  });
}

/**
 * Writes the records of the pool's backends (layout.ts) into `words`, whose records begin at word `backendsAt`. `pool`: its number. All that backends of one
 * tunnel and source have in common is worked out once: sums are linear, so an address is added to those of a template for address 0.
 */
export function writeBackends(words: Int32Array, backendsAt: number, record: PoolRecord, pool: number): void {
  const { spec, numbers } = record;
  const { ids, sinces } = numbers;
  const bytes = new Uint8Array(words.buffer, words.byteOffset);
  const common = new CommonWords(spec);
  for (let n = 0; n < ids.length; n++) {
    const backend = spec.backends[n];
    const { address, state } = backend;
    const at = backendsAt + ids[n] * L.BACKEND_WORDS;
    const shared = common.of(backend);
    // Word by word: a call that sets them all costs more than they do.
    for (let w = 0; w < L.BACKEND_WORDS; w++) words[at + w] = shared[w];
    words[at + L.B_POOL] = pool;
    words[at + L.B_STATE] = STATE[state];
    words[at + L.B_SINCE] = sinces[n];
    let sum = 0;
    for (let i = 0; i < address.length; i += 2) sum += (address[i] << 8) | address[i + 1];
    words[at + L.B_DATAGRAM_SUM] += sum;
    const isFour = address.length === 4;
    if (isFour) words[at + L.B_HEADER_SUM] += sum;
    const to = (at + L.B_TEMPLATE) * 4 + (isFour ? DESTINATION4 : DESTINATION6);
    for (let i = 0; i < address.length; i++) bytes[to + i] = address[i];
  }
}

/** The record of nobody. */
export function clearBackend(words: Int32Array, at: number): void {
  words.fill(0, at, at + L.BACKEND_WORDS);
  words[at + L.B_POOL] = -1;
}

/** Records of backends at address 0, by what they are made of: mostly the same for a whole pool. */
class CommonWords {
  readonly #pool: PoolSpec;
  #tunnel: TunnelSpec | null = null;
  #source: Uint8Array | null = null;
  #length = 0;
  #words: Int32Array = new Int32Array(0);

  constructor(pool: PoolSpec) {
    this.#pool = pool;
  }

  of(backend: BackendSpec): Int32Array {
    const tunnel = backend.tunnel ?? this.#pool.tunnel;
    const { address: source, spread } = tunnelSource(this.#pool, backend);
    const { length } = backend.address;
    if (tunnel === this.#tunnel && source === this.#source && length === this.#length) return this.#words;
    this.#tunnel = tunnel;
    this.#source = source;
    this.#length = length;
    this.#words = commonWords(tunnel, source as Uint8Array, spread, length);
    return this.#words;
  }
}

function commonWords(tunnel: TunnelSpec, source: Uint8Array, spread: number, length: number): Int32Array {
  const template = outerTemplate(tunnel, source, new Uint8Array(length));
  const words = new Int32Array(L.BACKEND_WORDS);
  words[L.B_FAMILY] = template.family;
  words[L.B_OVERHEAD] = template.overhead;
  words[L.B_CHECKSUM] = CHECKSUM[template.checksum];
  words[L.B_HEADER_SUM] = template.headerSum;
  words[L.B_DATAGRAM_SUM] = template.datagramSum;
  words[L.B_KIND] = KINDS[tunnel.encapsulation];
  const shape = { family: template.family, hasPorts: hasUdp(tunnel.encapsulation), spread };
  words[L.B_POLICY] = policyWord(tunnel.headers ?? DEFAULT_HEADERS, shape);
  words[L.B_SPREAD] = ~spreadMask(spread);
  words[L.B_GENERAL] = template.plain && words[L.B_POLICY] === 0 ? 0 : 1;
  words[L.B_PORTS] = (tunnel.port << 16) | (tunnel.port6 ?? tunnel.port);
  words[L.B_MOST_EXTRA] = mostExtraOf(tunnel);
  new Uint8Array(words.buffer).set(template.bytes, L.B_TEMPLATE * 4);
  return words;
}
