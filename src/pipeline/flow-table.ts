/**
 * The flow table: which backend a flow was given, so that it stays there when the Maglev table changes. Bounded and
 * set-associative, one cache line per bucket; memory never grows.
 *
 *     bucket (64 bytes, 16 words):  | entry 0 | entry 1 | entry 2 | entry 3 |
 *     entry (4 words):              | fingerprint low | fingerprint high | state | last seen (s) |
 *     state word:                   bits 0–23 backend id + 1 (0: free)   bit 24 confirmed
 *
 * Rules (design.md §4): an initial SYN neither creates nor refreshes an entry; the first later packet creates it, the second
 * confirms it. Replacement is by age, and an entry seen once never evicts a confirmed one that is alive. A thread writes only its own
 * shard; siblings may read it, so the state word is cleared first and written last.
 */

const BUCKET_WORDS = 16;
const ENTRY_WORDS = 4;
const WAYS = BUCKET_WORDS / ENTRY_WORDS;
const ID_MASK = 0xffffff;
const CONFIRMED = 1 << 24;

export const ENTRY_ID_MASK = ID_MASK;
export const ENTRY_CONFIRMED = CONFIRMED;

/** Place of a flow's entry among the four of the bucket at `bucket`, −1 when it has none. Written out: a loop costs twice as much. */
export function findInBucket(words: Int32Array, bucket: number, low: number, high: number): number {
  if (words[bucket] === low && words[bucket + 1] === high && words[bucket + 2] !== 0) return bucket;
  if (words[bucket + 4] === low && words[bucket + 5] === high && words[bucket + 6] !== 0) return bucket + 4;
  if (words[bucket + 8] === low && words[bucket + 9] === high && words[bucket + 10] !== 0) return bucket + 8;
  if (words[bucket + 12] === low && words[bucket + 13] === high && words[bucket + 14] !== 0) return bucket + 12;
  return -1;
}

/** A confirmed entry that was silent for this long (seconds) may be replaced by a flow seen once. */
export const CONFIRMED_IDLE = 600;

export class FlowTable {
  /** Entries, for status and metrics. */
  readonly capacity: number;
  readonly words: Int32Array;
  /** Number of buckets less one: a bucket is the low fingerprint word masked by it. */
  readonly mask: number;
  /** Secret key of the fingerprints. */
  readonly key0: number;
  readonly key1: number;
  /** Evictions of live entries since the counter was last taken. */
  evictions = 0;

  /**
   * `entries` is rounded up to a power of two, at least 16. `key`: two secret words. `memory`, when given, holds 16 bytes per entry,
   * zeroed or as another FlowTable of the same size and key left it.
   */
  constructor(entries: number, key: Int32Array, memory?: SharedArrayBuffer) {
    let buckets = 4;
    while (buckets * WAYS < entries) buckets *= 2;
    const bytes = buckets * BUCKET_WORDS * 4;
    if (memory !== undefined && memory.byteLength < bytes) {
      throw new RangeError(`a flow table of ${entries} entries needs ${bytes} bytes, got ${memory.byteLength}`);
    }
    this.words = new Int32Array(memory ?? new SharedArrayBuffer(bytes), 0, buckets * BUCKET_WORDS);
    this.capacity = buckets * WAYS;
    this.mask = buckets - 1;
    this.key0 = key[0] | 0;
    this.key1 = key[1] | 0;
  }

  /** First word of the bucket of a fingerprint. */
  bucketOf(low: number): number {
    return (low & this.mask) << 4;
  }

  /** Place of the flow's entry, −1 when it has none. */
  find(low: number, high: number): number {
    return findInBucket(this.words, (low & this.mask) << 4, low, high);
  }

  /** As `find`, for a shard that another thread may be writing. */
  findForeign(low: number, high: number): number {
    const at = this.find(low, high);
    return at >= 0 && Atomics.load(this.words, at + 2) !== 0 && this.words[at] === low ? at : -1;
  }

  backendAt(at: number): number {
    return (this.words[at + 2] & ID_MASK) - 1;
  }

  lastSeenAt(at: number): number {
    return this.words[at + 3];
  }

  confirmedAt(at: number): boolean {
    return (this.words[at + 2] & CONFIRMED) !== 0;
  }

  /** A packet of the flow passed: confirms the entry. Writes only what changes, so that a hot line stays clean. */
  refresh(at: number, now: number): void {
    const words = this.words;
    if (words[at + 3] !== now) words[at + 3] = now;
    const state = words[at + 2];
    if ((state & CONFIRMED) === 0) words[at + 2] = state | CONFIRMED;
  }

  /** The flow's backend is gone and another was chosen. */
  reassign(at: number, backend: number, now: number): void {
    this.words[at + 3] = now;
    this.words[at + 2] = (backend + 1) | CONFIRMED;
  }

  /** Gives the flow an entry if one may be had; false when every entry of the bucket is confirmed and alive. */
  insert(low: number, high: number, backend: number, now: number, confirmed: boolean): boolean {
    const words = this.words;
    const bucket = (low & this.mask) << 4;
    let victim = -1;
    let victimAge = -1;
    for (let at = bucket; at < bucket + BUCKET_WORDS; at += ENTRY_WORDS) {
      const state = words[at + 2];
      if (state === 0) {
        victim = at;
        break;
      }
      const age = (now - words[at + 3]) | 0;
      if ((state & CONFIRMED) !== 0 && age < CONFIRMED_IDLE && !confirmed) continue;
      // Among those that may go: the unconfirmed first, then the oldest.
      const rank = (state & CONFIRMED) === 0 ? age + 0x40000000 : age;
      if (rank > victimAge) {
        victim = at;
        victimAge = rank;
      }
    }
    if (victim < 0) return false;
    if (words[victim + 2] !== 0) {
      if (((now - words[victim + 3]) | 0) < CONFIRMED_IDLE) this.evictions++;
      Atomics.store(words, victim + 2, 0);
    }
    words[victim] = low;
    words[victim + 1] = high;
    words[victim + 3] = now;
    Atomics.store(words, victim + 2, (backend + 1) | (confirmed ? CONFIRMED : 0));
    return true;
  }

  /** Live entries: a scan of the whole table, for status and tests. */
  occupancy(): { entries: number; confirmed: number } {
    let entries = 0;
    let confirmed = 0;
    for (let at = 0; at < this.words.length; at += ENTRY_WORDS) {
      if (this.words[at + 2] === 0) continue;
      entries++;
      if ((this.words[at + 2] & CONFIRMED) !== 0) confirmed++;
    }
    return { entries, confirmed };
  }
}
