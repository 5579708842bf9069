/**
 * The flow table: which backend a flow was given, so that it stays there when the Maglev table changes. Bounded and
 * set-associative, one cache line per bucket; memory never grows.
 *
 *     bucket (64 bytes, 16 words):  | entry 0 | entry 1 | entry 2 | entry 3 |
 *     entry (4 words):              | fingerprint low | fingerprint high | state | last seen (s) |
 *     state word:                   bits 0–23 backend id + 1 (0: free)   bit 24 confirmed
 *
 * Rules (docs/architecture.md): an initial SYN follows an entry but neither creates nor refreshes it; the first later packet creates it (after a change of
 * tables a SYN whose slot has moved creates it), the second within a minute confirms it. Replacement is by age, and an entry seen once never evicts a confirmed one that is alive. A thread writes only its own
 * shard; siblings may read it, so the state word is cleared first and written last.
 */

const BUCKET_WORDS = 16;
const ENTRY_WORDS = 4;
const WAYS = BUCKET_WORDS / ENTRY_WORDS;
const ID_MASK = 0xffffff;
const CONFIRMED = 1 << 24;

/** The least `worth` of an entry that is not confirmed. */
const WORTH_UNCONFIRMED = 1 << 29;
const MAX_AGE = (1 << 26) - 1;
/** `worth` of a free entry. */
const FREE = 1 << 30;

/** A confirmed entry that was silent for this long (seconds) may be replaced by a flow seen once. */
export const CONFIRMED_IDLE = 600;

/**
 * How much the entry at `at` is worth replacing: free before unconfirmed before the rest, then by age; `tie` (0–3) stands in the low
 * bits and decides among equals. Without a branch: which of four entries goes is random, and each branch that the processor guesses
 * wrong costs as much as a third of an insertion.
 */
const worth = (words: Int32Array, at: number, now: number, tie: number): number => {
  const state = words[at + 2];
  const age = (now - words[at + 3]) | 0;
  // Bit 30 when the state is 0: of all states only that one is negative when 1 is taken off. Bit 29 when bit 24 is not set.
  const kind = (((state - 1) >> 1) & FREE) | ((~state & CONFIRMED) << 5);
  return kind | ((age & ~(age >> 31) & MAX_AGE) << 2) | tie;
};

/** The larger of two numbers from 0 to 2^31 − 1, without a branch. */
const larger = (a: number, b: number): number => {
  const difference = (a - b) | 0;
  return (a - (difference & (difference >> 31))) | 0;
};

/**
 * The entry of the bucket at `bucket` that a new flow may have, as `larger` of what they are worth. `turn`: the low two bits of its fingerprint's high word. Among entries of
 * one second any may go, as the fingerprint says. Were it always the same place, then in a flood each newcomer would drive out the
 * one before it, a flow that has just begun among them, and leave three of the flood alone.
 */
export const bestEntry = (words: Int32Array, bucket: number, now: number, turn: number): number =>
  larger(
    larger(worth(words, bucket, now, 3 ^ turn), worth(words, bucket + 4, now, 2 ^ turn)),
    larger(worth(words, bucket + 8, now, 1 ^ turn), worth(words, bucket + 12, now, turn)),
  );

/** From the bucket to the entry that `best` of `bestEntry` is. */
export const entryOf = (best: number, turn: number): number => (3 - ((best ^ turn) & 3)) * ENTRY_WORDS;

/** True when all four are confirmed and alive: the best is the oldest of them. */
export const areAllAlive = (best: number): boolean => best < WORTH_UNCONFIRMED && best >> 2 < CONFIRMED_IDLE;

/** 1 when that entry is one of a flow that was alive, 0 when not. */
export const isEviction = (best: number): number => (~best >>> 30) & ((((best >> 2) & MAX_AGE) - CONFIRMED_IDLE) >>> 31);

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

/**
 * Seconds within which a second packet confirms an entry. A client that comes back to a port it had an hour ago, as one does that asks name servers, is another
 * flow of one packet, and must not keep living flows out of the bucket.
 */
export const CONFIRM_WITHIN = 60;

/** Bytes of a cache line. */
const LINE = 64;
/**
 * From the start of a large SharedArrayBuffer to the next cache line: it begins 16 bytes behind a page, where glibc's allocator puts
 * large blocks. A bucket across two lines costs two cache misses, not one (measured: 150 ns for an insertion, not 17); should the memory
 * lie elsewhere, the table is slower and not wrong.
 */
const TO_LINE = 48;

/** Buckets of a table of so many entries: a power of two, at least 4. */
export function bucketsFor(entries: number): number {
  let buckets = 4;
  while (buckets * WAYS < entries) buckets *= 2;
  return buckets;
}

export const BUCKET_BYTES = BUCKET_WORDS * 4;
export const BUCKET_ENTRIES = WAYS;

/** Zeroed memory for so many buckets. */
export function tableMemory(buckets: number): SharedArrayBuffer {
  return new SharedArrayBuffer(buckets * BUCKET_BYTES + LINE);
}

/** The words of `buckets` buckets in `memory`. Whoever shares it computes the same skew from its size. */
export function wordsIn(memory: SharedArrayBuffer, buckets: number): Int32Array {
  const bytes = buckets * BUCKET_BYTES;
  if (memory.byteLength < bytes) {
    throw new RangeError(`a flow table of ${buckets * WAYS} entries needs ${bytes} bytes, got ${memory.byteLength}`);
  }
  return new Int32Array(memory, memory.byteLength >= bytes + LINE ? TO_LINE : 0, buckets * BUCKET_WORDS);
}

export class FlowTable {
  /** Entries, for status and metrics. */
  readonly capacity: number;
  readonly words: Int32Array;
  /** Number of buckets less one: a bucket is the low fingerprint word masked by it. */
  readonly mask: number;
  /** Other threads read it. */
  readonly shared: boolean;
  /** Secret key of the fingerprints. */
  readonly key0: number;
  readonly key1: number;
  /** Evictions of live entries since the counter was last taken. */
  evictions = 0;
  /** The same of flows that found no room. */
  refused = 0;
  /** Seconds of last use that the last successful `findForeign` read. */
  foreignSeen = 0;
  /**
   * Until then (seconds) many flows come from other shards because their threads were others: what is here may be of flows that have gone there.
   */
  recutUntil = 0;

  /**
   * `entries` is rounded up to a power of two, at least 16. `key`: two secret words. `memory`, when given, holds 16 bytes per entry,
   * zeroed or as another FlowTable of the same size and key left it: its `words.buffer`; or it is the table's words themselves, a power of two of
   * buckets (flow-regions.ts). `shared`: other threads read this shard; a store that they may
   * see half done is then ordered by Atomics, which waits for the stores before it.
   */
  constructor(entries: number, key: Int32Array, memory?: SharedArrayBuffer | Int32Array, shared = false) {
    const buckets = bucketsFor(entries);
    this.words = memory instanceof Int32Array ? memory : wordsIn(memory ?? tableMemory(buckets), buckets);
    if (this.words.length !== buckets * BUCKET_WORDS) {
      throw new RangeError(`a flow table of ${entries} entries has ${buckets * BUCKET_WORDS} words, got ${this.words.length}`);
    }
    this.capacity = buckets * WAYS;
    this.mask = buckets - 1;
    this.shared = shared;
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

  /**
   * Backend of the flow in a shard that another thread may be writing at this moment; −1 when it has none. The entry is read once and then
   * held against its fingerprint again: an owner that replaced it in between cleared the state first. `foreignSeen` has its last use.
   */
  findForeign(low: number, high: number): number {
    const words = this.words;
    const at = this.find(low, high);
    if (at < 0) return -1;
    const id = (Atomics.load(words, at + 2) & ID_MASK) - 1;
    this.foreignSeen = words[at + 3];
    const same = words[at] === low && words[at + 1] === high && (Atomics.load(words, at + 2) & ID_MASK) - 1 === id;
    return same ? id : -1;
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

  /** A packet of the flow passed: confirms the entry, unless the one before is long ago. Writes only what changes, so that a hot line stays clean. */
  refresh(at: number, now: number): void {
    const words = this.words;
    const seen = words[at + 3];
    if (seen !== now) words[at + 3] = now;
    const state = words[at + 2];
    if ((state & CONFIRMED) === 0 && now - seen <= CONFIRM_WITHIN) words[at + 2] = state | CONFIRMED;
  }

  /** The flow's backend is gone and another was chosen. */
  reassign(at: number, backend: number, now: number): void {
    this.words[at + 3] = now;
    this.words[at + 2] = (backend + 1) | CONFIRMED;
  }

  /**
   * Gives the flow an entry if one may be had; false when every entry of the bucket is confirmed and alive, unless it `takesLiving`: then it is the
   * oldest of them.
   */
  insert(low: number, high: number, backend: number, now: number, confirmed: boolean, takesLiving = confirmed): boolean {
    const words = this.words;
    const bucket = (low & this.mask) << 4;
    const turn = high & 3;
    const best = bestEntry(words, bucket, now, turn);
    if (!takesLiving && areAllAlive(best)) {
      this.refused++;
      return false;
    }
    const victim = bucket + entryOf(best, turn);
    const state = (backend + 1) | (confirmed ? CONFIRMED : 0);
    this.evictions += isEviction(best);
    if (this.shared) {
      Atomics.store(words, victim + 2, 0);
      words[victim] = low;
      words[victim + 1] = high;
      words[victim + 3] = now;
      Atomics.store(words, victim + 2, state);
      return true;
    }
    // In this order, whatever moment the process is killed at: no half-written entry bears the fingerprint of a flow.
    words[victim + 1] = high;
    words[victim + 3] = now;
    words[victim + 2] = state;
    words[victim] = low;
    return true;
  }

  /**
   * Clears what can be of no flow: entries last used after `now` (seconds), and those of backend ids from `idLimit` on. For memory that
   * somebody else left, before anybody reads it. How many entries are left, and how many of them are confirmed.
   */
  scrub(now: number, idLimit: number): { entries: number; confirmed: number } {
    const words = this.words;
    let entries = 0;
    let confirmed = 0;
    for (let at = 0; at < words.length; at += ENTRY_WORDS) {
      const state = words[at + 2];
      if (state === 0) continue;
      const id = (state & ID_MASK) - 1;
      if (id < 0 || id >= idLimit || words[at + 3] < 0 || words[at + 3] > now) {
        words[at + 2] = 0;
        continue;
      }
      entries++;
      if ((state & CONFIRMED) !== 0) confirmed++;
    }
    return { entries, confirmed };
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
