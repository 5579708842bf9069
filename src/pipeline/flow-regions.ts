/**
 * How threads share the flow table: one array of buckets (a power of two), cut into as many regions of equal size as there are threads, rounded up
 * to a power of two. Thread t writes region t alone and reads all. The size of the array does not depend on the number of threads, so the
 * same memory serves any of them, one after another:
 *
 *     4 regions:  |  0  |  1  |  2  |  3  |      place of a flow in its region: low fingerprint word & (buckets of a region − 1)
 *     2 regions:  |     0     |     1     |
 *
 * A place in a large region is, in one of the small regions that it holds, at the place that the same rule gives there: the low bits
 * of a number masked by 2ⁿ − 1 are the number masked by less. So one look into each of the FINEST regions that were in use finds an entry that
 * was written under any of the coarser ones.
 */
import { BUCKET_BYTES, BUCKET_ENTRIES, FlowTable } from './flow-table.ts';

/** Most regions: threads are 64 at most. */
export const MOST_REGIONS = 64;
const LEAST_BUCKETS = 4;
/** What an array must have to be cut into any number of regions. */
export const LEAST_ARRAY_BUCKETS = MOST_REGIONS * LEAST_BUCKETS;
const BUCKET_WORDS = BUCKET_BYTES / 4;

/** How the array is cut now, and where else to look. */
export interface FlowGeometry {
  /** Of the whole array. */
  readonly buckets: number;
  /** Regions that threads write: a power of two. */
  readonly regions: number;
  /** Regions that are looked at for entries of others: a power of two, `regions` or more. */
  readonly finest: number;
  /** Seconds until which flows come from where they were under another number of regions; absent or 0: none do. */
  readonly recutUntil?: number;
}

/** Regions for so many threads. */
export function regionsFor(threads: number): number {
  let regions = 1;
  while (regions < threads) regions *= 2;
  return regions;
}

/** Throws RangeError when the array is too small to be cut so. */
export function checkGeometry({ buckets, regions, finest }: FlowGeometry): void {
  const isPower = (value: number) => value > 0 && (value & (value - 1)) === 0;
  if (isPower(buckets) && isPower(regions) && isPower(finest) && finest >= regions && buckets / finest >= LEAST_BUCKETS) return;
  throw new RangeError(`${buckets} buckets can not be cut into ${regions} and ${finest} regions`);
}

/** Entries that `threads` threads can have: regions that nobody writes do not count. */
export function capacityOf({ buckets, regions }: FlowGeometry, threads: number): number {
  return (buckets / regions) * BUCKET_ENTRIES * threads;
}

function region(words: Int32Array, key: Int32Array, number: number, count: number, shared: boolean): FlowTable {
  const length = words.length / count;
  const entries = (length / BUCKET_WORDS) * BUCKET_ENTRIES;
  return new FlowTable(entries, key, words.subarray(number * length, (number + 1) * length), shared);
}

/** Views of thread number `thread`: what it writes, and what it only reads. `words`: the whole array. */
export function flowRegions(
  words: Int32Array,
  key: Int32Array,
  geometry: FlowGeometry,
  thread: number,
): { own: FlowTable; others: FlowTable[] } {
  const { regions, finest } = geometry;
  checkGeometry(geometry);
  const shared = regions > 1;
  const own = region(words, key, thread, regions, shared);
  own.recutUntil = geometry.recutUntil ?? 0;
  const others: FlowTable[] = [];
  for (let number = 0; number < finest; number++) {
    // Smaller regions inside the own one have other places than the own one's: they are looked at too.
    if (finest === regions && number === thread) continue;
    others.push(region(words, key, number, finest, shared));
  }
  return { own, others };
}
