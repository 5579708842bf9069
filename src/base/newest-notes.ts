/**
 * The newest so many notes of those that are offered, in any order: a heap whose root is the oldest of them, which a newer one pushes out. Words are copied, because
 * the ring that they lie in is gone when the next one is read.
 */
import { NOTE_WORDS } from './drop-notes.ts';

export class NewestNotes {
  readonly #most: number;
  readonly #sign: number;
  /** By slot. */
  readonly #words: Int32Array;
  readonly #times: Float64Array;
  readonly #orders: Float64Array;
  /** Slots, the oldest note's first; the children of place p are at 2p + 1 and 2p + 2. */
  readonly #heap: Int32Array;
  #length = 0;

  /** `sign` −1: the oldest instead. */
  constructor(most: number, sign: 1 | -1 = 1) {
    this.#most = most;
    this.#sign = sign;
    this.#words = new Int32Array(most * NOTE_WORDS);
    this.#times = new Float64Array(most);
    this.#orders = new Float64Array(most);
    this.#heap = new Int32Array(most);
  }

  /** Whether a note of this time would be kept. `order` tells notes of the same time apart: the greater one is newer. */
  wants(time: number, order: number): boolean {
    return this.#length < this.#most || this.#isOlder(this.#heap[0], time * this.#sign, order * this.#sign);
  }

  /** Keeps the note whose words begin at `at`; `wants` said so. */
  keep(time: number, order: number, words: Int32Array, at: number): void {
    const isFull = this.#length === this.#most;
    const slot = isFull ? this.#heap[0] : this.#length;
    this.#times[slot] = time * this.#sign;
    this.#orders[slot] = order * this.#sign;
    for (let w = 0; w < NOTE_WORDS; w++) this.#words[slot * NOTE_WORDS + w] = words[at + w];
    if (isFull) this.#sink(slot);
    else this.#rise(slot);
  }

  /** What `make` makes of each, the oldest first. */
  list<T>(make: (words: Int32Array, at: number, order: number) => T): T[] {
    const slots = this.#heap.slice(0, this.#length);
    slots.sort((a, b) => this.#times[a] - this.#times[b] || this.#orders[a] - this.#orders[b]);
    return Array.from(slots, (slot) => make(this.#words, slot * NOTE_WORDS, this.#orders[slot] * this.#sign));
  }

  #isOlder(slot: number, time: number, order: number): boolean {
    const own = this.#times[slot];
    return own < time || (own === time && this.#orders[slot] < order);
  }

  #rise(slot: number): void {
    let place = this.#length++;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (this.#isOlder(this.#heap[parent], this.#times[slot], this.#orders[slot])) break;
      this.#heap[place] = this.#heap[parent];
      place = parent;
    }
    this.#heap[place] = slot;
  }

  #sink(slot: number): void {
    let place = 0;
    for (let child = 1; child < this.#length; child = 2 * place + 1) {
      const right = child + 1;
      if (
        right < this.#length &&
        this.#isOlder(this.#heap[right], this.#times[this.#heap[child]], this.#orders[this.#heap[child]])
      )
        child = right;
      if (!this.#isOlder(this.#heap[child], this.#times[slot], this.#orders[slot])) break;
      this.#heap[place] = this.#heap[child];
      place = child;
    }
    this.#heap[place] = slot;
  }
}
