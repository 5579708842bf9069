/** What the two kinds of ring have in common for whoever reads one. */
import type { Batch } from '../../base/batch.ts';

/** A ring's memory as both walks look at it: headers are words and half words. */
export class RingMemory {
  protected words: Int32Array = new Int32Array(0);
  protected halves: Uint16Array = new Uint16Array(0);

  /** RingWalk's. */
  attach(memory: ArrayBufferLike): void {
    this.words = new Int32Array(memory);
    this.halves = new Uint16Array(memory);
  }
}

/** How a ring's memory is gone through: frame by frame, or block by block. */
export interface RingWalk {
  /** Columns of the last batch whose packet was larger than a frame and waits in the socket's queue; the first `large`. */
  readonly largeColumns: Int32Array;
  readonly large: number;
  /** Packets of which the ring held less than the whole, or nothing that makes sense. */
  readonly lost: number;
  /** The ring is the first part of this memory from now on. What was taken and not given back must be given back before. */
  attach(memory: ArrayBufferLike): void;
  /** Gives back what the call before took, then fills the batch; with `more` false only from what is opened already. Returns `count`. */
  take(batch: Batch, more: boolean): number;
}
