/** How full the flow table is, by a sample: a whole look at a gigabyte would keep main from its other work at every scrape. */
import { type FlowGeometry, regionsFor } from '../pipeline/flow-regions.ts';
import { BUCKET_BYTES, BUCKET_ENTRIES, CONFIRMED_IDLE } from '../pipeline/flow-table.ts';

const BUCKET_WORDS = BUCKET_BYTES / 4;
const ENTRY_WORDS = BUCKET_WORDS / BUCKET_ENTRIES;
/** Where an entry's state and its second of last use stand (pipeline/flow-table.ts). */
const STATE_AT = 2;
const SEEN_AT = 3;
/** Flows lie in buckets at random, so any of them will do: 16,384 entries give the share to about one in a hundred, in less than a millisecond. */
const SAMPLED_BUCKETS = 4096;

/**
 * Entries whose flow had a packet in the last ten minutes, which is as long as it is sure of its entry; exact for tables of up to 16,384 entries,
 * else an estimate. `words`: the whole array, which `threads` threads go on writing; `now`: seconds of their clock. Regions that
 * nobody writes are left out, as they are of the capacity.
 */
export function usedEntries(words: Int32Array, { buckets, regions }: FlowGeometry, threads: number, now: number): number {
  if (regionsFor(threads) > regions) throw new RangeError(`${threads} threads can not write ${regions} regions`);
  const written = (buckets / regions) * threads;
  const step = Math.max(1, Math.floor(written / SAMPLED_BUCKETS));
  let looked = 0;
  let used = 0;
  for (let bucket = 0; bucket < written; bucket += step) {
    looked++;
    const end = (bucket + 1) * BUCKET_WORDS;
    for (let at = bucket * BUCKET_WORDS; at < end; at += ENTRY_WORDS) {
      if (words[at + STATE_AT] !== 0 && now - words[at + SEEN_AT] <= CONFIRMED_IDLE) used++;
    }
  }
  return Math.round((used * written) / looked);
}
