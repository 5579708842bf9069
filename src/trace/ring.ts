/**
 * A ring of records in shared memory: one forwarding thread writes, main reads. A record lies in one piece; where the rest of the ring is too short for it, that rest is
 * skipped. The writer never waits: without room the record is left out, and counted by whoever wanted to write it.
 *
 *     | head 4 | tail 4 | 8 | matched f64 | over the rate f64 | no room f64 | 24 | data …
 *                                                                                ^ 64
 *     data:   | record | record | free … | record |      record:   | length 4, a multiple of 8 | …
 *
 * Head and tail count bytes of data; equal is empty, so that one record less fits than there is memory for. A length of 0: the rest is skipped.
 */
const DATA_AT = 64;
const HEAD = 0;
const TAIL = 1;
const MATCHED = 2;
const OVER_RATE = 3;
const NO_ROOM = 4;

/** What a thread counts while it traces. */
export interface RingTally {
  /** Packets that the filter matched. */
  readonly matched: number;
  /** Of these, not told because there were more than the rate allows. */
  readonly overRate: number;
  /** Of these, not told because the ring was full. */
  readonly noRoom: number;
}

/** Memory for a ring with `bytes` (a multiple of 8) of data. */
export function ringMemory(bytes: number): SharedArrayBuffer {
  return new SharedArrayBuffer(DATA_AT + bytes);
}

export class RingWriter {
  /** Over the data. */
  readonly view: DataView;
  readonly #words: Int32Array;
  readonly #tallies: Float64Array;
  readonly #size: number;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, 4);
    this.#tallies = new Float64Array(memory, 0, 8);
    this.view = new DataView(memory, DATA_AT);
    this.#size = memory.byteLength - DATA_AT;
  }

  /** Where a record of `bytes` (a multiple of 8) may be written; −1 when there is no room. Nothing is seen before `commit`. */
  reserve(bytes: number): number {
    const head = this.#words[HEAD];
    const tail = Atomics.load(this.#words, TAIL);
    if (head < tail) return tail - head > bytes ? head : -1;
    const rest = this.#size - head;
    if (rest > bytes || (rest === bytes && tail > 0)) return head;
    if (tail <= bytes) return -1;
    if (rest > 0) this.view.setInt32(head, 0, true);
    return 0;
  }

  /** The record of `bytes` at `at`, which `reserve` named last, is whole. */
  commit(at: number, bytes: number): void {
    this.view.setInt32(at, bytes, true);
    const next = at + bytes;
    Atomics.store(this.#words, HEAD, next === this.#size ? 0 : next);
  }

  count(matched: number, overRate: number, noRoom: number): void {
    this.#tallies[MATCHED] += matched;
    this.#tallies[OVER_RATE] += overRate;
    this.#tallies[NO_ROOM] += noRoom;
  }
}

export class RingReader {
  /** Over the data. */
  readonly view: DataView;
  readonly #words: Int32Array;
  readonly #tallies: Float64Array;
  readonly #size: number;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, 4);
    this.#tallies = new Float64Array(memory, 0, 8);
    this.view = new DataView(memory, DATA_AT);
    this.#size = memory.byteLength - DATA_AT;
  }

  /** Where the oldest record lies, −1 when there is none. It stays until `release`. */
  next(): number {
    const head = Atomics.load(this.#words, HEAD);
    let tail = this.#words[TAIL];
    if (tail === head) return -1;
    if (this.view.getInt32(tail, true) === 0) {
      tail = 0;
      Atomics.store(this.#words, TAIL, 0);
      if (head === 0) return -1;
    }
    return tail;
  }

  /** The oldest record has been read. */
  release(): void {
    const tail = this.#words[TAIL];
    const next = tail + this.view.getInt32(tail, true);
    Atomics.store(this.#words, TAIL, next === this.#size ? 0 : next);
  }

  tally(): RingTally {
    const tallies = this.#tallies;
    return { matched: tallies[MATCHED], overRate: tallies[OVER_RATE], noRoom: tallies[NO_ROOM] };
  }
}
