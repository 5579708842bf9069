/**
 * Watches one packet go through the path's own stages and writes down what each decided. It reads what the stages left in the batch and asks the functions that they
 * ask themselves (slots of a table, whether a backend serves), so it can not tell another story than the one that happened.
 */
import {
  type Batch,
  LINK_ETHERNET,
  LOOKUP_ADDRESSES,
  LOOKUP_FLOW,
  LOOKUP_FRAGMENT,
  LOOKUP_PACKET,
  LOOKUP_PORTS,
  LOOKUP_QUOTE,
  LOOKUP_SERVER_ID,
  LOOKUP_TABLE,
  VIRTIO_NEEDS_CSUM,
} from '../base/batch.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import { segmentBytes } from '../base/segment-bytes.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_HELD, VERDICT_REPLY, VERDICTS } from '../base/verdict.ts';
import { fingerprints, slotOf } from '../maglev-hash/index.ts';
import { serves, since, slotHash, tableBackend } from '../pipeline/choice.ts';
import type { FlowTable } from '../pipeline/flow-table.ts';
import { FlowTuple } from '../pipeline/flow-tuple.ts';
import * as L from '../pipeline/layout.ts';
import type { Snapshot, SnapshotNames } from '../pipeline/snapshot.ts';
import type { Encapsulation, Spec } from '../pipeline/spec.ts';
import type { StageName, StageRecorder } from '../pipeline/stage-recorder.ts';
import { KINDS } from '../pipeline/tunnel-kind.ts';
import { leastDistance, rightDistance } from '../pipeline/tunnel-offsets.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { PROTOCOL_SCTP } from '../wire/sctp.ts';
import * as tcp from '../wire/tcp.ts';
import { transportChecksum } from '../wire/transport-checksum.ts';
import { headerLines, type Within } from './header-lines.ts';
import { type Destination, serviceStep } from './services.ts';
import type {
  ChoiceStep,
  ChosenFrom,
  FlowEntry,
  FlowStep,
  LookedUpBy,
  PacketStep,
  SentStep,
  SizeStep,
  SlotAnswer,
  Trail,
} from './trail.ts';
import { readQuoted, readTuple } from './tuple.ts';

/** What the packet meets. */
export interface World {
  readonly spec: Spec;
  readonly names: SnapshotNames;
  readonly snapshot: Snapshot;
  /** The flow table that the pipeline writes, and those that it reads beside it; `region`: the number that the first is shown with. */
  readonly flows: FlowTable;
  readonly siblings: readonly FlowTable[];
  readonly region: number;
  /** As the pipeline has it; null for no limit. */
  readonly pathMtu: Int32Array | null;
}

const LOOKUPS: ReadonlyMap<number, LookedUpBy> = new Map([
  [LOOKUP_FLOW, 'flow'],
  [LOOKUP_QUOTE, 'quote'],
  [LOOKUP_FRAGMENT, 'fragment'],
  [LOOKUP_SERVER_ID, 'server-id'],
  [LOOKUP_PACKET, 'packet'],
  [LOOKUP_ADDRESSES, 'addresses'],
  [LOOKUP_PORTS, 'ports'],
  [LOOKUP_TABLE, 'table'],
]);
const ENCAPSULATIONS = Object.keys(KINDS).sort(
  (a, b) => KINDS[a as Encapsulation] - KINDS[b as Encapsulation],
) as Encapsulation[];
const WITHIN: Readonly<Record<Encapsulation, Within>> = {
  gue: 'gue',
  'gue-v1': 'gue-v1',
  fou: 'fou',
  ipip: 'payload',
  gre: 'payload',
};
const SYN_ACK_RST = tcp.SYN | tcp.ACK | tcp.RST;
const WITH_PORTS: readonly number[] = [ipv4.PROTOCOL_TCP, ipv4.PROTOCOL_UDP, PROTOCOL_SCTP];
/** Bytes of the first packet that are kept: every header, and the beginning of the payload. */
const KEPT = 256;

/** Of merged segments and partial checksums nothing is known before they are finished. */
function isDamaged(batch: Batch): boolean {
  if (batch.gsoType[0] !== 0 || (batch.virtioFlags[0] & VIRTIO_NEEDS_CSUM) !== 0) return false;
  const { view } = batch.arena;
  const end = batch.frameAt[0] + batch.frameLength[0];
  const network = batch.ingress.link === LINK_ETHERNET ? ethernet.findNetwork(view, batch.frameAt[0], end) : batch.frameAt[0];
  return network >= 0 && transportChecksum(view, network, end) === 'wrong';
}

export class Witness implements StageRecorder {
  readonly #world: World;
  readonly #batch: Batch;
  readonly #now: number;
  readonly #tuple: FlowTuple;
  readonly #packet: Omit<PacketStep, 'checksumCompleted'>;
  /** Called with the packet's fingerprint before it is steered. */
  readonly #steering: (low: number, high: number) => void;
  #service = -1;
  #lookup = LOOKUP_FLOW;
  #destination: Destination | null = null;
  #flow: FlowStep | null = null;
  #entryServes = false;
  #elsewhere = false;
  #choice: ChoiceStep | null = null;
  #size: Omit<SizeStep, 'becomes' | 'parts' | 'answered'> | null = null;
  #headerBefore: Uint8Array = new Uint8Array(0);
  #mssClamped = false;
  #completed = false;

  /**
   * Before the batch, which holds this one packet as it was received, is processed. `now`: seconds of the batch clock. `steering`: told the flow's fingerprint
   * while the flow table can still be made ready for it.
   */
  constructor(world: World, batch: Batch, now: number, steering: (low: number, high: number) => void = () => {}) {
    this.#world = world;
    this.#batch = batch;
    this.#now = now;
    this.#steering = steering;
    const { view } = batch.arena;
    this.#tuple = new FlowTuple(view);
    const at = batch.frameAt[0];
    const end = at + batch.frameLength[0];
    const { link } = batch.ingress;
    this.#packet = {
      ...readTuple(view, at, end, link),
      length: batch.frameLength[0],
      headers: headerLines(view, at, end, link),
      quoted: readQuoted(view, at, end, link),
      checksumWrong: isDamaged(batch),
    };
  }

  after(stage: StageName, batch: Batch): void {
    switch (stage) {
      case 'classify':
        this.#classified(batch);
        return;
      case 'appoint':
        if (batch.service[0] >= 0) this.#beforeSteering(batch);
        return;
      case 'steer':
        if (batch.service[0] >= 0) this.#steered(batch);
        return;
      case 'clamp':
        this.#mssClamped = this.#transportHeader(batch).some((byte, i) => byte !== this.#headerBefore[i]);
        return;
      case 'segment':
      case 'encapsulate':
      case 'guard':
        return;
    }
  }

  #classified(batch: Batch): void {
    this.#service = batch.service[0];
    this.#completed = this.#service >= 0 && batch.gsoType[0] === 0 && (batch.virtioFlags[0] & VIRTIO_NEEDS_CSUM) !== 0;
    this.#destination = destinationOf(batch, this.#packet.dport ?? null);
  }

  /** What the tables and the flow table say before this packet changes anything. */
  #beforeSteering(batch: Batch): void {
    this.#lookup = batch.lookup[0];
    const by = LOOKUPS.get(this.#lookup) ?? 'flow';
    let entry: FlowEntry | null = null;
    if (by === 'flow' || by === 'addresses' || by === 'ports') {
      this.#fingerprint(batch);
      const low = batch.fingerprintLow[0];
      const high = batch.fingerprintHigh[0];
      this.#steering(low, high);
      entry = this.#entryOf(low, high);
    }
    this.#flow = { by, hash: (batch.flowHash[0] >>> 0).toString(16).padStart(8, '0'), entry, effect: 'none' };
  }

  /** As steer.ts and wide-flow.ts make it. */
  #fingerprint(batch: Batch): void {
    const { flows, snapshot } = this.#world;
    const { view } = batch.arena;
    const { tuple4, tuple6 } = fingerprints(flows.key0, flows.key1, batch.fingerprintLow, batch.fingerprintHigh);
    const at = batch.networkAt[0];
    const protocol = batch.protocol[0];
    const serviceAt = snapshot.words[L.H_SERVICES] + this.#service * L.SERVICE_WORDS;
    if (this.#lookup === LOOKUP_PORTS) {
      tuple4(snapshot.words[serviceAt + L.S_ID], 0, view.getInt32(batch.transportAt[0]), protocol, 0);
      return;
    }
    const ports = this.#lookup === LOOKUP_ADDRESSES ? 0 : view.getInt32(batch.transportAt[0]);
    if (batch.family[0] === 4) tuple4(ipv4.source(view, at), ipv4.destination(view, at), ports, protocol, 0);
    else tuple6(view, at + ipv6.SOURCE_AT, at + ipv6.DESTINATION_AT, ports, protocol, 0);
  }

  #entryOf(low: number, high: number): FlowEntry | null {
    const { flows, siblings, region } = this.#world;
    const at = flows.find(low, high);
    if (at >= 0) {
      const told = this.#entry(flows, at, region);
      this.#entryServes = told.serves;
      return told;
    }
    for (const [index, sibling] of siblings.entries()) {
      const id = sibling.findForeign(low, high);
      const there = sibling.find(low, high);
      if (id < 0 || there < 0) continue;
      const told = this.#entry(sibling, there, index < region ? index : index + (siblings.length > 0 ? 1 : 0));
      this.#elsewhere = true;
      this.#entryServes = told.serves;
      return told;
    }
    return null;
  }

  #entry(table: FlowTable, at: number, region: number): FlowEntry {
    const { words } = this.#world.snapshot;
    const id = table.backendAt(at);
    const seen = table.lastSeenAt(at);
    const pool = words[words[L.H_SERVICES] + this.#service * L.SERVICE_WORDS + L.S_POOL];
    const because = this.#refusal(id, seen, pool);
    return {
      region,
      backend: this.#nameOf(id),
      idle: Math.max(0, this.#now - seen),
      confirmed: table.confirmedAt(at),
      serves: because === null,
      because,
    };
  }

  /** Why an entry that names `id` is not followed; null when it is. */
  #refusal(id: number, seen: number, pool: number): string | null {
    const { words } = this.#world.snapshot;
    if (serves(words, id, pool)) return seen >= since(words, id) ? null : 'its number belongs to another backend since';
    if (id < 0 || id >= words[L.H_BACKEND_LIMIT]) return 'its backend is not known';
    const at = words[L.H_BACKENDS] + id * L.BACKEND_WORDS;
    if (words[at + L.B_STATE] === L.STATE_ABSENT) return 'its backend is gone';
    if (words[at + L.B_STATE] === L.STATE_DOWN) return 'its backend is down';
    return "its backend is of another pool than the service's";
  }

  #steered(batch: Batch): void {
    this.#headerBefore = this.#transportHeader(batch);
    const { snapshot, names, pathMtu, spec } = this.#world;
    const { words } = snapshot;
    const service = batch.service[0];
    const serviceAt = words[L.H_SERVICES] + service * L.SERVICE_WORDS;
    const pool = words[serviceAt + L.S_POOL];
    const poolAt = words[L.H_POOLS] + pool * L.POOL_WORDS;
    const id = batch.verdict[0] === VERDICT_FORWARD ? batch.backend[0] : -1;
    const named = names.backends.find((backend) => backend.id === id) ?? null;
    const poolName = spec.services[service].pool;
    const tables = names.pools.find(({ name }) => name === poolName);
    const byItself = this.#flow !== null && ['flow', 'addresses', 'ports', 'table'].includes(this.#flow.by);
    this.#choice = {
      from: this.#from(batch, id, serviceAt),
      pool: poolName,
      backend: named?.name ?? null,
      address: named?.address ?? null,
      state: named?.state ?? null,
      weight: named?.weight ?? null,
      slots: named?.slots ?? null,
      scheme: tables?.scheme ?? 'maglev',
      tableSize: tables?.tableSize ?? 0,
      digest: tables?.digest ?? '',
      table: byItself ? this.#slot(batch, serviceAt, poolAt, false) : null,
      previous: byItself ? this.#previous(batch, serviceAt, poolAt) : null,
    };
    if (this.#flow !== null) this.#flow = { ...this.#flow, effect: this.#effect(batch) };
    if (id < 0) return;
    const backendAt = words[L.H_BACKENDS] + id * L.BACKEND_WORDS;
    this.#size = {
      pathMtu: pathMtu?.[id] ?? 0,
      overhead: words[backendAt + L.B_OVERHEAD],
      length: batch.networkLength[0],
      segment: batch.gsoType[0] === 0 ? 0 : batch.gsoSize[0],
      policy: spec.services[service].oversize ?? 'segment',
      mssClamped: false,
    };
  }

  #from(batch: Batch, id: number, serviceAt: number): ChosenFrom {
    if (id < 0) return 'nobody';
    switch (this.#flow?.by) {
      case 'server-id':
        return 'server-id';
      case 'packet':
        return 'turn';
      case 'fragment':
        return 'first-fragment';
      case 'quote':
      case 'table':
        return 'table';
      default:
    }
    const { entry } = this.#flow as FlowStep;
    if (entry?.serves === true) return this.#elsewhere ? 'other-thread' : 'entry';
    // As in steer.ts: an entry of our own that no longer serves, and an initial SYN, are not asked of the table before.
    const isOlder = (entry === null || this.#elsewhere) && !isInitial(batch);
    const { snapshot } = this.#world;
    if (!isOlder) return 'table';
    const older = tableBackend(batch, 0, snapshot, serviceAt, true, this.#now, this.#tuple);
    const current = tableBackend(batch, 0, snapshot, serviceAt, false, this.#now, this.#tuple);
    return older !== current && older === id ? 'previous-table' : 'table';
  }

  #slot(batch: Batch, serviceAt: number, poolAt: number, previous: boolean): SlotAnswer | null {
    const { snapshot } = this.#world;
    const { words } = snapshot;
    const table = words[poolAt + (previous ? L.P_PREVIOUS_TABLE : L.P_TABLE)];
    if (table < 0) return null;
    if (words[poolAt + (previous ? L.P_PREVIOUS_SCHEME : L.P_SCHEME)] !== L.SCHEME_MAGLEV) {
      const id = tableBackend(batch, 0, snapshot, serviceAt, previous, this.#now, this.#tuple);
      return { slot: null, backend: this.#nameOf(id) };
    }
    const hash = slotHash(batch, 0, words[serviceAt + L.S_AFFINITY]);
    const seed = words[poolAt + (previous ? L.P_PREVIOUS_SEED : L.P_SEED)];
    const size = words[poolAt + (previous ? L.P_PREVIOUS_SIZE : L.P_SIZE)];
    const slot = slotOf(hash, seed, size);
    const members = words[poolAt + (previous ? L.P_PREVIOUS_MEMBERS : L.P_MEMBERS)];
    return { slot, backend: this.#nameOf(words[members + snapshot.tables[table][slot]]) };
  }

  #previous(batch: Batch, serviceAt: number, poolAt: number): ChoiceStep['previous'] {
    const { words } = this.#world.snapshot;
    const until = words[poolAt + (batch.protocol[0] === ipv4.PROTOCOL_TCP ? L.P_PREVIOUS_UNTIL : L.P_PREVIOUS_UNTIL_OTHERS)];
    if (words[poolAt + L.P_PREVIOUS_TABLE] < 0 || this.#now >= until) return null;
    const answer = this.#slot(batch, serviceAt, poolAt, true);
    return answer === null ? null : { ...answer, seconds: until - this.#now };
  }

  #effect(batch: Batch): FlowStep['effect'] {
    const flow = this.#flow as FlowStep;
    if (!['flow', 'addresses', 'ports'].includes(flow.by) || batch.verdict[0] !== VERDICT_FORWARD) return 'none';
    const { flows } = this.#world;
    const at = flows.find(batch.fingerprintLow[0], batch.fingerprintHigh[0]);
    if (at < 0) return 'none';
    if (flow.entry === null || this.#elsewhere) return 'created';
    if (!this.#entryServes)
      return flows.lastSeenAt(at) === this.#now && flows.backendAt(at) === batch.backend[0] ? 'moved' : 'none';
    return isInitial(batch) ? 'none' : 'refreshed';
  }

  #transportHeader(batch: Batch): Uint8Array {
    if (batch.service[0] < 0 || batch.protocol[0] !== ipv4.PROTOCOL_TCP || batch.verdict[0] !== VERDICT_FORWARD)
      return new Uint8Array(0);
    const { bytes, view } = batch.arena;
    const at = batch.transportAt[0];
    return bytes.slice(at, at + tcp.headerLength(view, at));
  }

  #nameOf(id: number): string | null {
    const found = this.#world.names.backends.find((backend) => backend.id === id);
    return found === undefined ? null : `${found.pool}/${found.name}`;
  }

  /** When the batch has been processed. */
  trail(): Trail {
    const batch = this.#batch;
    const verdict = batch.verdict[0];
    const isForward = verdict === VERDICT_FORWARD;
    const reason = verdict === VERDICT_DROP ? DROP_REASONS[batch.reason[0]] : null;
    return {
      packet: { ...this.#packet, checksumCompleted: this.#completed },
      service: serviceStep(this.#world.spec, this.#service, this.#destination),
      flow: this.#flow,
      choice: this.#choice,
      size: this.#size === null ? null : { ...this.#size, ...this.#outcome(batch), mssClamped: this.#mssClamped },
      sent: isForward ? this.#sent(batch) : null,
      verdict: verdict === VERDICT_HELD ? 'held' : VERDICTS[verdict],
      reason: reason === null ? null : { word: reason.word, text: reason.text },
    };
  }

  #outcome(batch: Batch): Pick<SizeStep, 'becomes' | 'parts' | 'answered' | 'overhead'> {
    const overhead = (this.#size as { overhead: number }).overhead + batch.tunnelExtra[0];
    const answered = batch.verdict[0] === VERDICT_REPLY || batch.answers > 0;
    if (batch.verdict[0] !== VERDICT_FORWARD) return { becomes: 'nothing', parts: 0, answered, overhead };
    const parts = batch.segmentCount[0];
    const told = (becomes: SizeStep['becomes']) => ({ becomes, parts, answered, overhead });
    if (batch.fragmentsOuter[0] !== 0) return told('outer-fragments');
    if (parts <= 1) return told('whole');
    if (batch.recordAt[0] < 0) return told('uncut');
    return told(batch.segmentSize[0] === 0 ? 'fragments' : 'segments');
  }

  #sent(batch: Batch): SentStep {
    const parts = batch.segmentCount[0];
    const isTrain = batch.recordAt[0] >= 0;
    const lengths = isTrain
      ? Array.from({ length: parts }, (_, k) => batch.pieceHeader[batch.recordOf(0, k)] + batch.pieceLength[batch.recordOf(0, k)])
      : [batch.outLength[0]];
    const first = segmentBytes(batch, 0, 0);
    const view = new DataView(first.buffer, first.byteOffset, first.byteLength);
    const kind = batch.encapsulation[0];
    const encapsulation = ENCAPSULATIONS[kind];
    // A tunnel packet in fragments leaves from elsewhere than where its headers were written (fragment-outer.ts).
    const isFragmented = batch.fragmentsOuter[0] !== 0;
    const start = isFragmented
      ? batch.outerTransportAt[0] - (batch.outerFamily[0] === 4 ? ipv4.HEADER_LENGTH : ipv6.HEADER_LENGTH)
      : batch.outerNetworkAt[0];
    const outerTransport = batch.outerTransportAt[0] - start;
    const overhead = this.#outcome(batch).overhead;
    // A train's packet lies where it was received; its segments' headers are copies behind the outer ones.
    const innerNetwork = start >= batch.arena.recordsAt ? overhead : batch.networkAt[0] - start;
    return {
      encapsulation,
      lengths,
      headers: headerLines(view, 0, first.length, 0, WITHIN[encapsulation]),
      offsets: {
        outerNetwork: isFragmented ? 0 : batch.outerNetworkAt[0] - batch.outAt[0],
        outerTransport,
        tunnel: batch.tunnelAt[0] - start,
        innerNetwork,
        innerTransport: innerNetwork + batch.transportAt[0] - batch.networkAt[0],
        end: first.length,
      },
      tunnelLength: {
        least: Math.max(leastDistance(kind), rightDistance(batch.arena.view, kind, batch.outerTransportAt[0])),
        is: innerNetwork - outerTransport,
      },
      bytes: Array.from(first.subarray(0, KEPT), (byte) => byte.toString(16).padStart(2, '0')).join(''),
    };
  }
}

function isInitial(batch: Batch): boolean {
  return batch.protocol[0] === ipv4.PROTOCOL_TCP && (batch.tcpFlags[0] & SYN_ACK_RST) === tcp.SYN;
}

/** Where the packet goes; null when that could not be read. */
function destinationOf(batch: Batch, port: number | null): Destination | null {
  const at = batch.networkAt[0];
  const { bytes, view } = batch.arena;
  const end = batch.frameAt[0] + batch.frameLength[0];
  if (at <= 0 || at >= end) return null;
  const version = view.getUint8(at) >> 4;
  if (version === 4 && end - at >= ipv4.HEADER_LENGTH) {
    const address = bytes.slice(at + ipv4.DESTINATION_AT, at + ipv4.DESTINATION_AT + 4);
    return { address, protocol: ipv4.protocol(view, at), port };
  }
  if (version !== 6 || end - at < ipv6.HEADER_LENGTH) return null;
  const found = ipv6.findTransport6(view, at, end);
  const protocol = found < 0 ? ipv6.nextHeader(view, at) : ipv6.transportProtocol(found);
  const address = bytes.slice(at + ipv6.DESTINATION_AT, at + ipv6.DESTINATION_AT + 16);
  return { address, protocol, port: WITH_PORTS.includes(protocol) ? port : null };
}
