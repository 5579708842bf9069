/**
 * The choice of a backend where the flow table has no answer: another thread's shard, the table before the last change, the current one
 * (design in docs/architecture.md). What has no flow of its own (ICMP errors, later fragments) asks here too.
 */
import { type Batch, HOPS } from '../base/batch.ts';
import {
  hashAddresses4,
  hashAddresses6,
  hashSource4,
  hashSource6,
  hashTuple4,
  hashTuple6,
  slotOf,
} from '../maglev-hash/index.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { FlowTable } from './flow-table.ts';
import { type FlowTuple, ownPorts } from './flow-tuple.ts';
import {
  AFFINITY_PORTS,
  AFFINITY_SOURCE,
  AFFINITY_TUPLE,
  B_POOL,
  B_SINCE,
  B_STATE,
  BACKEND_WORDS,
  H_BACKEND_LIMIT,
  H_BACKENDS,
  H_POOLS,
  P_MEMBERS,
  P_PREVIOUS_MEMBERS,
  P_PREVIOUS_SCHEME,
  P_PREVIOUS_SCHEME_AT,
  P_PREVIOUS_SEED,
  P_PREVIOUS_SIZE,
  P_PREVIOUS_TABLE,
  P_PREVIOUS_UNTIL,
  P_PREVIOUS_UNTIL_OTHERS,
  P_SCHEME,
  P_SCHEME_AT,
  P_SEED,
  P_SIZE,
  P_TABLE,
  POOL_WORDS,
  S_AFFINITY,
  S_ALL_PORTS,
  S_POOL,
  SCHEME_GLB,
  SCHEME_MAGLEV,
  STATE_DRAINING,
  STATE_SERVING,
} from './layout.ts';
import { findHops, peerBackend } from './peer-choice.ts';
import type { Snapshot } from './snapshot.ts';

const TCP = ipv4.PROTOCOL_TCP;

/** True when `id` is a backend of `pool` that may still get packets of flows it has. */
export function serves(words: Int32Array, id: number, pool: number): boolean {
  if (id < 0 || id >= words[H_BACKEND_LIMIT]) return false;
  const at = words[H_BACKENDS] + id * BACKEND_WORDS;
  const state = words[at + B_STATE];
  return words[at + B_POOL] === pool && (state === STATE_SERVING || state === STATE_DRAINING);
}

/**
 * The backend that the pool's tables give packet `i` by its own 5-tuple, −1 for none: for an `older` flow (no SYN) the table before the last
 * change while it answers, then the current one. `now`: seconds of the batch clock. Packets that are to be steered by other addresses
 * and ports than their own (ICMP quotes, fragments) ask `tableBackendOf`.
 */
export function tableBackend(
  batch: Batch,
  i: number,
  snapshot: Snapshot,
  serviceAt: number,
  older: boolean,
  now: number,
  flow: FlowTuple,
): number {
  const words = snapshot.words;
  const pool = words[serviceAt + S_POOL];
  const poolAt = words[H_POOLS] + pool * POOL_WORDS;
  if (words[poolAt + P_SCHEME] !== SCHEME_MAGLEV || words[poolAt + P_PREVIOUS_SCHEME] !== SCHEME_MAGLEV) {
    flow.fromPacket(batch, i, ownPorts(batch, i));
    return tableBackendOf(batch, i, snapshot, serviceAt, older, now, flow);
  }
  const hash = slotHash(batch, i, words[serviceAt + S_AFFINITY]);
  if (older) {
    const id = maglevPrevious(snapshot, poolAt, hash, batch.protocol[i] === TCP, now);
    if (serves(words, id, pool)) return id;
  }
  return maglevCurrent(snapshot, poolAt, hash);
}

/** True while the table before the last change still answers for TCP flows of the service's pool that have no entry. */
export function previousAnswers(words: Int32Array, serviceAt: number, now: number): boolean {
  const poolAt = words[H_POOLS] + words[serviceAt + S_POOL] * POOL_WORDS;
  return words[poolAt + P_PREVIOUS_TABLE] >= 0 && now < words[poolAt + P_PREVIOUS_UNTIL];
}

/**
 * True when the current table's answer to the flow hash is `tableBackend`'s, whatever the packet: scheme and affinity are the usual ones, and the table before the
 * last change has had its time.
 */
export function isDecidedByTable(words: Int32Array, serviceAt: number, now: number): boolean {
  const poolAt = words[H_POOLS] + words[serviceAt + S_POOL] * POOL_WORDS;
  if (words[poolAt + P_SCHEME] !== SCHEME_MAGLEV || words[poolAt + P_PREVIOUS_SCHEME] !== SCHEME_MAGLEV) return false;
  if (words[serviceAt + S_AFFINITY] !== AFFINITY_TUPLE || words[poolAt + P_TABLE] < 0) return false;
  if (words[poolAt + P_PREVIOUS_TABLE] < 0) return true;
  return now >= words[poolAt + P_PREVIOUS_UNTIL] && now >= words[poolAt + P_PREVIOUS_UNTIL_OTHERS];
}

/**
 * The same by explicit addresses and ports, whatever the pool's scheme: what ICMP quotes, fragments and other protocols ask. `flow`: the
 * tuple as the CLIENT's packets of the flow have it (of an ICMP error's quote: turned round). `i`: the packet that is steered; where the scheme is
 * glb its row's hops are noted in the batch, for encapsulation.
 */
export function tableBackendOf(
  batch: Batch,
  i: number,
  snapshot: Snapshot,
  serviceAt: number,
  older: boolean,
  now: number,
  flow: FlowTuple,
): number {
  const words = snapshot.words;
  const pool = words[serviceAt + S_POOL];
  const poolAt = words[H_POOLS] + pool * POOL_WORDS;
  flow.allPorts = words[serviceAt + S_ALL_PORTS];
  const isTcp = flow.protocol === TCP;
  const affinity = words[serviceAt + S_AFFINITY];
  if (older) {
    const id =
      words[poolAt + P_PREVIOUS_SCHEME] === SCHEME_MAGLEV
        ? maglevPrevious(snapshot, poolAt, tupleHash(flow, affinity), isTcp, now)
        : peerPrevious(snapshot, poolAt, flow, isTcp, now);
    if (serves(words, id, pool)) return id;
  }
  const scheme = words[poolAt + P_SCHEME];
  if (scheme === SCHEME_MAGLEV) return maglevCurrent(snapshot, poolAt, tupleHash(flow, affinity));
  const id = peerCurrent(snapshot, poolAt, flow);
  if (scheme === SCHEME_GLB) noteRow(batch, i, snapshot, poolAt, flow);
  return id;
}

/** The row hashes of packet `i`, and the hops of its rows, for those who write its headers. Only for pools of scheme glb. */
export function noteRow(batch: Batch, i: number, snapshot: Snapshot, poolAt: number, flow: FlowTuple): void {
  batch.rowHash[i] = flow.rowHash;
  batch.secondRowHash[i] = flow.secondRowHash;
  noteHops(batch, i, snapshot, poolAt);
}

/** The hops of a packet whose row hashes stand in the batch. Nothing where the pool's scheme is another than glb. */
export function noteHops(batch: Batch, i: number, snapshot: Snapshot, poolAt: number): void {
  const words = snapshot.words;
  const table = words[poolAt + P_TABLE];
  if (words[poolAt + P_SCHEME] !== SCHEME_GLB || table < 0) return;
  const slots = snapshot.tables[table];
  const members = words[poolAt + P_MEMBERS];
  const { rowHash, secondRowHash, hops } = batch;
  findHops(
    words,
    slots,
    words[poolAt + P_SCHEME_AT],
    words[poolAt + P_SIZE],
    members,
    rowHash[i],
    secondRowHash[i],
    hops,
    i * HOPS,
  );
}

/** Hash by which a table of scheme maglev is asked about packet `i`, by its own 5-tuple. */
export function slotHash(batch: Batch, i: number, affinity: number): number {
  if (affinity === AFFINITY_TUPLE) return batch.flowHash[i];
  const view = batch.arena.view;
  if (affinity === AFFINITY_PORTS) return hashTuple4(0, 0, view.getInt32(batch.transportAt[i]), batch.protocol[i]);
  const at = batch.networkAt[i];
  if (batch.family[i] === 4) {
    const source = view.getInt32(at + ipv4.SOURCE_AT);
    return affinity === AFFINITY_SOURCE
      ? hashSource4(source)
      : hashAddresses4(source, view.getInt32(at + ipv4.DESTINATION_AT), batch.protocol[i]);
  }
  return affinity === AFFINITY_SOURCE
    ? hashSource6(view, at + ipv6.SOURCE_AT)
    : hashAddresses6(view, at + ipv6.SOURCE_AT, at + ipv6.DESTINATION_AT, batch.protocol[i]);
}

/** The same hash of a tuple. */
function tupleHash(flow: FlowTuple, affinity: number): number {
  const { view, sourceAt, destinationAt, protocol } = flow;
  if (affinity === AFFINITY_PORTS) return hashTuple4(0, 0, flow.ports, protocol);
  const ports = affinity === AFFINITY_TUPLE ? flow.ports : 0;
  if (flow.family === 4) {
    const source = view.getInt32(sourceAt);
    return affinity === AFFINITY_SOURCE ? hashSource4(source) : hashTuple4(source, view.getInt32(destinationAt), ports, protocol);
  }
  return affinity === AFFINITY_SOURCE ? hashSource6(view, sourceAt) : hashTuple6(view, sourceAt, destinationAt, ports, protocol);
}

/** The current table's backend id, −1 when the pool has none that takes new flows. */
function maglevCurrent(snapshot: Snapshot, poolAt: number, hash: number): number {
  const words = snapshot.words;
  const table = words[poolAt + P_TABLE];
  if (table < 0) return -1;
  const slot = slotOf(hash, words[poolAt + P_SEED], words[poolAt + P_SIZE]);
  return words[words[poolAt + P_MEMBERS] + snapshot.tables[table][slot]];
}

function peerCurrent(snapshot: Snapshot, poolAt: number, flow: FlowTuple): number {
  const words = snapshot.words;
  const table = words[poolAt + P_TABLE];
  if (table < 0) return -1;
  const blockAt = words[poolAt + P_SCHEME_AT];
  const size = words[poolAt + P_SIZE];
  return peerBackend(words, snapshot.tables[table], words[poolAt + P_SCHEME], blockAt, size, words[poolAt + P_MEMBERS], flow);
}

/** Index of the table before the last change while it answers, −1 when there is none or the change is long ago. */
function previousTable(words: Int32Array, poolAt: number, isTcp: boolean, now: number): number {
  const until = isTcp ? P_PREVIOUS_UNTIL : P_PREVIOUS_UNTIL_OTHERS;
  return now >= words[poolAt + until] ? -1 : words[poolAt + P_PREVIOUS_TABLE];
}

/** The backend id that the table before the last change gave, which may have gone since; −1 when it no longer answers. */
function maglevPrevious(snapshot: Snapshot, poolAt: number, hash: number, isTcp: boolean, now: number): number {
  const words = snapshot.words;
  const table = previousTable(words, poolAt, isTcp, now);
  if (table < 0) return -1;
  const slot = slotOf(hash, words[poolAt + P_PREVIOUS_SEED], words[poolAt + P_PREVIOUS_SIZE]);
  return words[words[poolAt + P_PREVIOUS_MEMBERS] + snapshot.tables[table][slot]];
}

function peerPrevious(snapshot: Snapshot, poolAt: number, flow: FlowTuple, isTcp: boolean, now: number): number {
  const words = snapshot.words;
  const table = previousTable(words, poolAt, isTcp, now);
  if (table < 0) return -1;
  const blockAt = words[poolAt + P_PREVIOUS_SCHEME_AT];
  const membersAt = words[poolAt + P_PREVIOUS_MEMBERS];
  const size = words[poolAt + P_PREVIOUS_SIZE];
  return peerBackend(words, snapshot.tables[table], words[poolAt + P_PREVIOUS_SCHEME], blockAt, size, membersAt, flow);
}

/** Entry of the flow in another thread's shard, as backend id; −1 when none has it or it no longer serves. */
export function siblingBackend(
  snapshot: Snapshot,
  siblings: readonly FlowTable[],
  low: number,
  high: number,
  pool: number,
): number {
  for (let s = 0; s < siblings.length; s++) {
    const id = siblings[s].findForeign(low, high);
    if (serves(snapshot.words, id, pool) && siblings[s].foreignSeen >= since(snapshot.words, id)) return id;
  }
  return -1;
}

export function since(words: Int32Array, id: number): number {
  return words[words[H_BACKENDS] + id * BACKEND_WORDS + B_SINCE];
}
