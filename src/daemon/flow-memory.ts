/** The memory of the flow table as main hands it to forwarding threads: of a file (flow-file.ts), or of this process alone. */
import { randomFillSync } from 'node:crypto';
import { type FlowGeometry, LEAST_ARRAY_BUCKETS, regionsFor } from '../pipeline/flow-regions.ts';
import { BUCKET_BYTES, bucketsFor, tableMemory, wordsIn } from '../pipeline/flow-table.ts';
import { type MappedRange, viewMapped } from '../raw-socket/mapped-file.ts';
import { adviseHugePages } from '../raw-socket/memory.ts';

/** Words of the secret key. */
export const KEY_WORDS = 4;

/** Structured-cloneable. A mapped range must stay mapped for as long as any thread has it. */
export interface FlowMemory {
  readonly geometry: FlowGeometry;
  /** KEY_WORDS words. */
  readonly key: Int32Array;
  /** Where the buckets are. */
  readonly memory: SharedArrayBuffer | MappedRange;
}

/** Buckets of the array for so many entries: enough for any number of threads. */
export function arrayBuckets(entries: number): number {
  return Math.max(bucketsFor(entries), LEAST_ARRAY_BUCKETS);
}

/** Memory that ends with this process. */
export function processMemory(entries: number, threads: number): FlowMemory {
  const buckets = arrayBuckets(entries);
  const memory = tableMemory(buckets);
  adviseHugePages(wordsIn(memory, buckets));
  const regions = regionsFor(threads);
  const key = randomFillSync(new Int32Array(new SharedArrayBuffer(KEY_WORDS * 4)));
  return { geometry: { buckets, regions, finest: regions }, key, memory };
}

/** The calling thread's own view over the whole array. */
export function flowWords({ geometry, memory }: FlowMemory): Int32Array {
  if (memory instanceof SharedArrayBuffer) return wordsIn(memory, geometry.buckets);
  return new Int32Array(viewMapped(memory), 0, (geometry.buckets * BUCKET_BYTES) / 4);
}
