/** The flow table as `explain` reads it: beside the threads that write it, and without leaving a trace. */

import { type FlowGeometry, flowRegions } from '../pipeline/flow-regions.ts';
import { BUCKET_BYTES, FlowTable } from '../pipeline/flow-table.ts';

/** The flow table of a running director. */
export interface LiveFlows {
  readonly words: Int32Array;
  readonly key: Int32Array;
  readonly geometry: FlowGeometry;
  readonly threads: number;
}

/** Entries of the smallest flow table there is. */
const FEW = 16;
const BUCKET_WORDS = BUCKET_BYTES / 4;

/**
 * What a thread of a running director sees of its flow table: a table of a few buckets that may be written, and the regions of all others. `take` copies into the
 * first the one bucket that a packet's flow would be found in, so that what the packet does to it is seen and the director's own is untouched.
 */
export class FlowsOfThread {
  readonly own: FlowTable;
  readonly others: readonly FlowTable[];
  readonly #real: FlowTable;

  constructor({ words, key, geometry }: LiveFlows, thread: number) {
    const { own, others } = flowRegions(words, key, geometry, thread);
    this.#real = own;
    this.others = others;
    this.own = new FlowTable(FEW, key);
  }

  /** Before the packet of this fingerprint is steered. */
  take(low: number, high: number): void {
    const from = this.#real.bucketOf(low);
    this.own.words.set(this.#real.words.subarray(from, from + BUCKET_WORDS), this.own.bucketOf(low));
    this.#dropTorn(low, high);
  }

  /** A thread may have been writing while its bucket was copied: an entry of this flow counts only if it reads the same again. */
  #dropTorn(low: number, high: number): void {
    const at = this.own.find(low, high);
    if (at < 0) return;
    const id = this.#real.findForeign(low, high);
    if (id !== this.own.backendAt(at)) this.own.words[at + 2] = 0;
  }

  /** True when this thread's region has an entry of the flow. */
  has(low: number, high: number): boolean {
    return this.#real.findForeign(low, high) >= 0;
  }
}
