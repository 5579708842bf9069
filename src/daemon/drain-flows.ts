/**
 * How many flows a backend still has: its entries in all shards of the flow table, counted by main when somebody asks. The forwarding threads go on
 * writing meanwhile, so the figure is that of no single moment.
 */
import { ENTRY_ID_MASK } from '../pipeline/flow-table.ts';

/** Words of an entry, and where its state and its second of last use stand (pipeline/flow-table.ts). */
const ENTRY_WORDS = 4;
const STATE_AT = 2;
const SEEN_AT = 3;
/** Words between two breaths: a shard of a gigabyte must not keep main from its other work. */
const STRIDE = 1 << 20;
/** Seconds since a packet within which a flow counts as alive, and as remembered. */
export const ALIVE_SECONDS = 60;
export const REMEMBERED_SECONDS = 600;

export interface FlowCount {
  /** Flows that had a packet in the last minute. */
  alive: number;
  /** In the last ten minutes: as long as a silent flow is sure of its entry. */
  remembered: number;
}

/** Flows by backend id, of the ids that are asked for. `now`: seconds of the clock that the threads are given. */
export async function countFlows(
  shards: readonly Int32Array[],
  ids: readonly number[],
  now: number,
): Promise<ReadonlyMap<number, FlowCount>> {
  const counts = new Map(ids.map((id): [number, FlowCount] => [id, { alive: 0, remembered: 0 }]));
  if (ids.length === 0) return counts;
  const most = Math.max(...ids);
  const alive = new Float64Array(most + 2);
  const remembered = new Float64Array(most + 2);
  for (const words of shards) {
    for (let from = 0; from < words.length; from += STRIDE) {
      countWords(words, from, Math.min(words.length, from + STRIDE), now, alive, remembered);
      await new Promise((done) => setImmediate(done));
    }
  }
  for (const [id, count] of counts) {
    count.alive = alive[id + 1];
    count.remembered = remembered[id + 1];
  }
  return counts;
}

/** Adds the entries of words [from, to) up, by backend id + 1. */
function countWords(words: Int32Array, from: number, to: number, now: number, alive: Float64Array, all: Float64Array): void {
  for (let at = from; at < to; at += ENTRY_WORDS) {
    const number = words[at + STATE_AT] & ENTRY_ID_MASK;
    if (number === 0 || number >= all.length) continue;
    const age = now - words[at + SEEN_AT];
    if (age > REMEMBERED_SECONDS) continue;
    all[number]++;
    if (age <= ALIVE_SECONDS) alive[number]++;
  }
}
