/**
 * One ring of an AF_XDP socket: a power of two of entries between two counters that only grow (modulo 2^32). The producer writes entries, then its counter; the
 * consumer reads entries, then writes its own. Each side keeps its own counter in a field and looks at the other's once per batch.
 *
 *     | producer u32 | … | consumer u32 | … | flags u32 | … | entry | entry | …
 */

const NEED_WAKEUP = 1;

export interface RingLayout {
  /** All count 32-bit words. */
  readonly producerAt: number;
  readonly consumerAt: number;
  readonly flagsAt: number;
  readonly entriesAt: number;
  /** Number of entries. */
  readonly entries: number;
}

export class XdpRing {
  /** The whole mapping; entries are written and read here by their index. */
  readonly words: Int32Array;
  readonly entriesAt: number;
  readonly mask: number;
  readonly #producerAt: number;
  readonly #consumerAt: number;
  readonly #flagsAt: number;
  /** Our own counter, producer's or consumer's: the next entry. Wraps as int32. */
  next: number;

  /** `side`: which of the two we are. A ring that another process used before goes on where that one stopped. */
  constructor(words: Int32Array, layout: RingLayout, side: 'producer' | 'consumer') {
    this.words = words;
    this.entriesAt = layout.entriesAt;
    this.mask = layout.entries - 1;
    this.#producerAt = layout.producerAt;
    this.#consumerAt = layout.consumerAt;
    this.#flagsAt = layout.flagsAt;
    this.next = Atomics.load(words, side === 'producer' ? layout.producerAt : layout.consumerAt);
  }

  /** For a producer: entries that may be written now. */
  free(): number {
    return (this.mask + 1 - (this.next - Atomics.load(this.words, this.#consumerAt))) | 0;
  }

  /** For a producer: what was written up to `next` is the kernel's. */
  submit(): void {
    Atomics.store(this.words, this.#producerAt, this.next);
  }

  /** For a consumer: entries that may be read now. */
  waiting(): number {
    return (Atomics.load(this.words, this.#producerAt) - this.next) | 0;
  }

  /** For a consumer: what was read up to `next` is the kernel's again. */
  release(): void {
    Atomics.store(this.words, this.#consumerAt, this.next);
  }

  /** The kernel wants to be woken before it looks at this ring (fill and transmit). */
  get needsWakeup(): boolean {
    return (Atomics.load(this.words, this.#flagsAt) & NEED_WAKEUP) !== 0;
  }

  /** Word index of the place in entry `next + k` of a ring of places (fill, completion). */
  placeAt(k: number): number {
    return this.entriesAt + (((this.next + k) & this.mask) << 1);
  }

  /** Word index of entry `next + k` of a ring of descriptors: place low, place high, length, options. */
  descriptorAt(k: number): number {
    return this.entriesAt + (((this.next + k) & this.mask) << 2);
  }
}
