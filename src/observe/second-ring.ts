/**
 * What was counted in each of the last seconds, in memory that is bounded: for every second one record for each series that changed in it, and none for the others.
 *
 *     seconds    ring of times:    | ended at, lasted, first record |           oldest first
 *     records    ring of triples:  | series + high bits of bytes | packets | low bits of bytes |
 *
 * When either is full the oldest seconds go. Numbers of series are the caller's (counter-series.ts).
 */

/** Two hours. */
export const SECONDS_KEPT = 7200;
/** Twelve bytes each: 24 MiB when all are used; 291 series that change in every second of two hours. */
export const RECORDS_KEPT = 2 ** 21;

const SERIES_BITS = 20;
const SERIES_MASK = 2 ** SERIES_BITS - 1;
export const MOST_SERIES = 2 ** SERIES_BITS;
const WORD = 2 ** 32;
/** Of a record: packets are one word, bytes 44 bits. More than a network carries in a second. */
const MOST_PACKETS = WORD - 1;
const MOST_BYTES = 2 ** 44 - 1;

/** One second as it was counted; when the process was busy or asleep it lasted longer. */
export interface CountedSecond {
  /** Milliseconds since 1970 at its end. */
  readonly end: number;
  /** Milliseconds. */
  readonly lasted: number;
}

export class SecondRing {
  readonly #ends: Float64Array;
  readonly #lasted: Float64Array;
  /** Position of the first record of each second. Positions count on: place = position mod capacity. */
  readonly #firsts: Float64Array;
  readonly #series: Uint32Array;
  readonly #packets: Uint32Array;
  readonly #bytes: Uint32Array;
  /** Positions of the oldest second and of the next one. */
  #tail = 0;
  #head = 0;
  #recordHead = 0;

  constructor(seconds = SECONDS_KEPT, records = RECORDS_KEPT) {
    this.#ends = new Float64Array(seconds);
    this.#lasted = new Float64Array(seconds);
    this.#firsts = new Float64Array(seconds);
    // Pages that are never written to cost nothing.
    this.#series = new Uint32Array(records);
    this.#packets = new Uint32Array(records);
    this.#bytes = new Uint32Array(records);
  }

  /** Bytes that it can ever take. */
  static bytesFor(seconds = SECONDS_KEPT, records = RECORDS_KEPT): number {
    return seconds * 24 + records * 12;
  }

  /** Seconds that are held. */
  get length(): number {
    return this.#head - this.#tail;
  }

  /** Seconds were held that no longer are. */
  get hasForgotten(): boolean {
    return this.#tail > 0;
  }

  /** Records that are held. */
  get records(): number {
    return this.length === 0 ? 0 : this.#recordHead - this.#firsts[this.#tail % this.#ends.length];
  }

  /** The oldest and the newest second; null while there is none. */
  get oldest(): CountedSecond | null {
    return this.length === 0 ? null : this.#second(this.#tail);
  }

  get newest(): CountedSecond | null {
    return this.length === 0 ? null : this.#second(this.#head - 1);
  }

  #second(position: number): CountedSecond {
    const at = position % this.#ends.length;
    return { end: this.#ends[at], lasted: this.#lasted[at] };
  }

  /** Begins the record of a second that has just ended. `end`, `lasted`: milliseconds, as CountedSecond has them. */
  begin(end: number, lasted: number): void {
    if (this.length === this.#ends.length) this.#tail++;
    const at = this.#head % this.#ends.length;
    this.#ends[at] = end;
    this.#lasted[at] = lasted;
    this.#firsts[at] = this.#recordHead;
    this.#head++;
  }

  /** What `series` counted in the second that was begun last. False when this one second alone fills the ring: then it is left out. */
  add(series: number, packets: number, bytes: number): boolean {
    const capacity = this.#series.length;
    while (this.records === capacity) {
      if (this.length === 1) return false;
      this.#tail++;
    }
    const at = this.#recordHead % capacity;
    const counted = Math.min(bytes, MOST_BYTES);
    this.#series[at] = series + Math.floor(counted / WORD) * MOST_SERIES;
    this.#packets[at] = Math.min(packets, MOST_PACKETS);
    this.#bytes[at] = counted % WORD;
    this.#recordHead++;
    return true;
  }

  /** Calls `begin` for each second that is held, oldest first, and `record` for what was counted in it when `begin` says so. */
  visit(
    begin: (second: CountedSecond) => boolean,
    record: (series: number, packets: number, bytes: number, second: CountedSecond) => void,
  ): void {
    const capacity = this.#series.length;
    for (let position = this.#tail; position < this.#head; position++) {
      const second = this.#second(position);
      if (!begin(second)) continue;
      const end = position + 1 === this.#head ? this.#recordHead : this.#firsts[(position + 1) % this.#ends.length];
      for (let r = this.#firsts[position % this.#ends.length]; r < end; r++) {
        const word = this.#series[r % capacity];
        const bytes = (word >>> SERIES_BITS) * WORD + this.#bytes[r % capacity];
        record(word & SERIES_MASK, this.#packets[r % capacity], bytes, second);
      }
    }
  }
}
