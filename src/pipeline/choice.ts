/**
 * The choice of a backend where the flow table has no answer: another thread's shard, the table before the last change, the current one
 * (design in docs/architecture.md). What has no flow of its own (ICMP errors, later fragments) asks here too.
 */
import type { Batch } from '../base/batch.ts';
import { hashAddresses4, hashAddresses6, hashSource4, hashSource6, hashTuple4, slotOf } from '../maglev-hash/index.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { FlowTable } from './flow-table.ts';
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
  P_MEMBERS,
  P_PREVIOUS_MEMBERS,
  P_PREVIOUS_SEED,
  P_PREVIOUS_SIZE,
  P_PREVIOUS_TABLE,
  P_PREVIOUS_UNTIL,
  P_PREVIOUS_UNTIL_OTHERS,
  P_SEED,
  P_SIZE,
  P_TABLE,
  STATE_DRAINING,
  STATE_SERVING,
} from './layout.ts';
import type { Snapshot } from './snapshot.ts';

/** True when `id` is a backend of `pool` that may still get packets of flows it has. */
export function serves(words: Int32Array, id: number, pool: number): boolean {
  if (id < 0 || id >= words[H_BACKEND_LIMIT]) return false;
  const at = words[H_BACKENDS] + id * BACKEND_WORDS;
  const state = words[at + B_STATE];
  return words[at + B_POOL] === pool && (state === STATE_SERVING || state === STATE_DRAINING);
}

/** Hash by which the pool's table is asked. */
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

/** The current table's backend id, −1 when the pool has none that takes new flows. */
export function currentBackend(snapshot: Snapshot, poolAt: number, hash: number): number {
  const words = snapshot.words;
  const table = words[poolAt + P_TABLE];
  if (table < 0) return -1;
  const slot = slotOf(hash, words[poolAt + P_SEED], words[poolAt + P_SIZE]);
  return words[words[poolAt + P_MEMBERS] + snapshot.tables[table][slot]];
}

/** The backend that the table before the last change gave, −1 when it no longer serves or the change is long ago. */
export function previousBackend(
  snapshot: Snapshot,
  pool: number,
  poolAt: number,
  hash: number,
  isTcp: boolean,
  now: number,
): number {
  const words = snapshot.words;
  const table = words[poolAt + P_PREVIOUS_TABLE];
  if (table < 0 || now >= words[poolAt + (isTcp ? P_PREVIOUS_UNTIL : P_PREVIOUS_UNTIL_OTHERS)]) return -1;
  const slot = slotOf(hash, words[poolAt + P_PREVIOUS_SEED], words[poolAt + P_PREVIOUS_SIZE]);
  const id = words[words[poolAt + P_PREVIOUS_MEMBERS] + snapshot.tables[table][slot]];
  return serves(words, id, pool) ? id : -1;
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
