/**
 * The fragment table: which backend the fragments of one datagram go to, and which of its bytes have gone there. Bounded and set-associative like the
 * flow table, one shard for each thread, which alone writes it; memory never grows. An entry lives from the first fragment seen until all bytes
 * have been, or until none was seen for `timeout` seconds, or until newer datagrams need its place: the one unused longest goes.
 *
 *     bucket: 4 entries     entry (one cache line):
 *     | fingerprint low | high | state | last seen (s) | order | port, protocol | flow hash | bytes of all | rows (2) | range 0 | … | range 5 |
 *
 *     state    bits 0–23 backend id + 1 (a free entry is 0 as a whole)   24 the first fragment was seen   25 spoiled: it had an overlap
 *              26 too many ranges: no longer followed                    27–30 number of ranges
 *     port     bits 0–15 destination port   16–23 protocol   24 both are known               by these its service is found, whatever the snapshot
 *     rows     row hashes of scheme glb, by which encapsulation finds the hops
 *     range    first unit << 16 | unit behind the last; units of 8 bytes, as offsets count
 *
 * Ranges that touch become one. Fragments in order make one range; in any order they make at most half as many as there are fragments.
 */

const ENTRY_WORDS = 16;
const WAYS = 4;
const BUCKET_SHIFT = 6;
const STATE = 2;
const SEEN = 3;
const ORDER = 4;
const PORT = 5;
const HASH = 6;
const TOTAL = 7;
const ROWS = 8;
const RANGES = 10;
const MOST_RANGES = 6;
const KNOWN = 1 << 24;
const ID_MASK = 0xffffff;
const FIRST = 1 << 24;
const SPOILED = 1 << 25;
const LOST_COUNT = 1 << 26;
const RANGE_SHIFT = 27;
const RANGE_MASK = 15;

/**
 * Seconds without a fragment after which one with the same key may be of a new datagram: identifications of IPv4 come again after 65,536, and
 * of a datagram that lost a part, or that was spread over threads, no shard ever sees all. Two of a clock of whole seconds are more than one.
 */
export const NEW_AFTER = 2;

/** What `track` answers for bytes that may go on, and for those that may not. */
export const TRACK_OK = 0;
/** All of them have gone already. */
export const TRACK_DUPLICATE = 1;
/** Some of them have, or they lie behind the datagram's end. */
export const TRACK_OVERLAP = 2;

export class FragmentTable {
  readonly words: Int32Array;
  /** Entries, for status and metrics. */
  readonly capacity: number;
  readonly mask: number;
  /** Secret key of the fingerprints. */
  readonly key0: number;
  readonly key1: number;
  /** Seconds without a fragment after which an entry is no more. */
  readonly timeout: number;
  /** Live entries replaced since the counter was last taken. */
  evictions = 0;
  /** What the last successful `findForeign` read. */
  foreignBackend = 0;
  foreignSpoiled = false;
  foreignSeen = 0;
  foreignPort = 0;
  foreignProtocol = 0;
  foreignHash = 0;
  foreignRow = 0;
  foreignSecondRow = 0;
  #order = 0;

  /**
   * `entries` is rounded up to a power of two, at least 16. `key`: two secret words. `memory`, when given, holds `bytesFor(entries)` bytes, zeroed or
   * as another table of the same size and key left it.
   */
  constructor(entries: number, key: Int32Array, timeout: number, memory?: SharedArrayBuffer) {
    let buckets = 4;
    while (buckets * WAYS < entries) buckets *= 2;
    const bytes = FragmentTable.bytesFor(entries);
    if (memory !== undefined && memory.byteLength < bytes) {
      throw new RangeError(`a fragment table of ${entries} entries needs ${bytes} bytes, got ${memory.byteLength}`);
    }
    this.words = new Int32Array(memory ?? new SharedArrayBuffer(bytes));
    this.capacity = buckets * WAYS;
    this.mask = buckets - 1;
    this.key0 = key[0] | 0;
    this.key1 = key[1] | 0;
    this.timeout = timeout;
  }

  /** Memory of a table; one line more than its entries, for what siblings look at. */
  static bytesFor(entries: number): number {
    let capacity = 16;
    while (capacity < entries) capacity *= 2;
    return (capacity + 1) * ENTRY_WORDS * 4;
  }

  /** Counts entries made or completed with a first fragment: a sibling looks again when it has changed. */
  get news(): number {
    return Atomics.load(this.words, this.capacity * ENTRY_WORDS);
  }

  #announce(): void {
    Atomics.add(this.words, this.capacity * ENTRY_WORDS, 1);
  }

  /** Place of the datagram's entry, −1 when it has none that lives. `now`: seconds. */
  find(low: number, high: number, now: number): number {
    const words = this.words;
    const bucket = (low & this.mask) << BUCKET_SHIFT;
    for (let at = bucket; at < bucket + WAYS * ENTRY_WORDS; at += ENTRY_WORDS) {
      if (words[at] === low && words[at + 1] === high && words[at + STATE] !== 0) {
        return now - words[at + SEEN] <= this.timeout ? at : -1;
      }
    }
    return -1;
  }

  /**
   * True when another thread's shard has the datagram with its first fragment, or spoiled: the `foreign` fields say what. One that is idle is taken for
   * an earlier datagram's, whose successor's first fragment its thread may not have seen yet. The owner may be writing: an entry that it replaced in
   * between has another fingerprint, or state 0.
   */
  findForeign(low: number, high: number, now: number): boolean {
    const words = this.words;
    const at = this.find(low, high, now);
    if (at < 0 || now - words[at + SEEN] >= NEW_AFTER) return false;
    const state = Atomics.load(words, at + STATE);
    if ((state & (FIRST | SPOILED)) === 0) return false;
    this.foreignBackend = (state & ID_MASK) - 1;
    this.foreignSpoiled = (state & SPOILED) !== 0;
    this.foreignSeen = words[at + SEEN];
    this.foreignPort = words[at + PORT] & 0xffff;
    this.foreignProtocol = (words[at + PORT] >>> 16) & 0xff;
    this.foreignHash = words[at + HASH];
    this.foreignRow = words[at + ROWS];
    this.foreignSecondRow = words[at + ROWS + 1];
    const same = words[at] === low && words[at + 1] === high;
    return same && (Atomics.load(words, at + STATE) & ID_MASK) === (state & ID_MASK);
  }

  /** An entry without ranges, whose backend `assign` must say next; the oldest of its bucket goes for it. */
  insert(low: number, high: number, now: number): number {
    const words = this.words;
    const bucket = (low & this.mask) << BUCKET_SHIFT;
    let victim = bucket;
    let oldest = -1;
    for (let at = bucket; at < bucket + WAYS * ENTRY_WORDS; at += ENTRY_WORDS) {
      // The same datagram's dead entry first: a fingerprint stands once in its bucket.
      const isOwn = words[at] === low && words[at + 1] === high;
      if (isOwn || words[at + STATE] === 0 || now - words[at + SEEN] > this.timeout) {
        victim = at;
        oldest = -1;
        if (isOwn) break;
        continue;
      }
      const free = words[victim + STATE] === 0 || now - words[victim + SEEN] > this.timeout;
      const age = (this.#order - words[at + ORDER]) & 0x7fffffff;
      if (!free && age > oldest) {
        oldest = age;
        victim = at;
      }
    }
    const isLive = words[victim + STATE] !== 0 && now - words[victim + SEEN] <= this.timeout;
    if (isLive && (words[victim] !== low || words[victim + 1] !== high)) this.evictions++;
    Atomics.store(words, victim + STATE, 0);
    words[victim] = low;
    words[victim + 1] = high;
    words[victim + TOTAL] = 0;
    return victim;
  }

  /**
   * Says where the datagram goes. `isFirst`: by its first fragment, which is authoritative. `port`: 0 where the protocol has none, −1 while it is not known.
   * `hash`: its flow's. `seen`: now.
   */
  assign(at: number, backend: number, isFirst: boolean, port: number, protocol: number, hash: number, seen: number): void {
    const words = this.words;
    words[at + PORT] = port < 0 ? protocol << 16 : port | (protocol << 16) | KNOWN;
    words[at + HASH] = hash;
    words[at + SEEN] = seen;
    this.#order = (this.#order + 1) | 0;
    words[at + ORDER] = this.#order;
    const kept = words[at + STATE] & ~ID_MASK;
    Atomics.store(words, at + STATE, kept | (backend + 1) | (isFirst ? FIRST : 0));
    if (isFirst) this.#announce();
  }

  /**
   * Notes that bytes `from` (a multiple of 8) to `end` of the datagram have been seen; `isLast`: no byte follows. A refusal changes nothing.
   * Of a datagram in more than 6 separate ranges no further range is noted.
   */
  track(at: number, from: number, end: number, isLast: boolean, now: number): number {
    const words = this.words;
    const first = from >> 3;
    const behind = (end + 7) >> 3;
    const state = words[at + STATE];
    const count = (state >>> RANGE_SHIFT) & RANGE_MASK;
    const total = words[at + TOTAL];
    let before = -1;
    let after = -1;
    let isContained = false;
    let wrong = total !== 0 && (isLast ? end !== total : end > total);
    for (let k = at + RANGES; k < at + RANGES + count; k++) {
      const start = words[k] >>> 16;
      const stop = words[k] & 0xffff;
      if (first >= start && behind <= stop) isContained = true;
      else if (first < stop && behind > start) wrong = true;
      // A byte behind the last one.
      if (isLast && stop > behind) wrong = true;
      if (stop === first) before = k;
      if (start === behind) after = k;
    }
    if (wrong) return TRACK_OVERLAP;
    if (isContained) return TRACK_DUPLICATE;
    if (isLast) words[at + TOTAL] = end;
    words[at + SEEN] = now;
    this.#order = (this.#order + 1) | 0;
    words[at + ORDER] = this.#order;
    let ranges = count;
    let bits = 0;
    if (before >= 0 && after >= 0) {
      words[before] = (words[before] & 0xffff0000) | (words[after] & 0xffff);
      ranges--;
      words[after] = words[at + RANGES + ranges];
    } else if (before >= 0) {
      words[before] = (words[before] & 0xffff0000) | behind;
    } else if (after >= 0) {
      words[after] = (first << 16) | (words[after] & 0xffff);
    } else if (ranges < MOST_RANGES) {
      words[at + RANGES + ranges] = (first << 16) | behind;
      ranges++;
    } else {
      bits = LOST_COUNT;
    }
    words[at + STATE] = (state & ~(RANGE_MASK << RANGE_SHIFT)) | bits | (ranges << RANGE_SHIFT);
    return TRACK_OK;
  }

  /** True when every byte of the datagram has been seen in this shard. */
  isComplete(at: number): boolean {
    const words = this.words;
    const total = words[at + TOTAL];
    if (total === 0 || ((words[at + STATE] >>> RANGE_SHIFT) & RANGE_MASK) !== 1) return false;
    return words[at + RANGES] === (total + 7) >> 3;
  }

  free(at: number): void {
    Atomics.store(this.words, at + STATE, 0);
  }

  /** No fragment of the datagram goes on any more, until the entry times out (RFC 5722 §4). */
  spoil(at: number): void {
    this.words[at + STATE] |= SPOILED;
  }

  isSpoiled(at: number): boolean {
    return (this.words[at + STATE] & SPOILED) !== 0;
  }

  hasFirst(at: number): boolean {
    return (this.words[at + STATE] & FIRST) !== 0;
  }

  backendAt(at: number): number {
    return (this.words[at + STATE] & ID_MASK) - 1;
  }

  seenAt(at: number): number {
    return this.words[at + SEEN];
  }

  /** −1 when no first fragment has told it. */
  portAt(at: number): number {
    return (this.words[at + PORT] & KNOWN) === 0 ? -1 : this.words[at + PORT] & 0xffff;
  }

  protocolAt(at: number): number {
    return (this.words[at + PORT] >>> 16) & 0xff;
  }

  hashAt(at: number): number {
    return this.words[at + HASH];
  }

  /** Before `assign`: what `tableBackendOf` noted of the packet that the backend was chosen for. */
  noteRows(at: number, row: number, secondRow: number): void {
    this.words[at + ROWS] = row;
    this.words[at + ROWS + 1] = secondRow;
  }

  rowAt(at: number): number {
    return this.words[at + ROWS];
  }

  secondRowAt(at: number): number {
    return this.words[at + ROWS + 1];
  }

  /** Entries that live: a scan of the whole table, for status and tests. */
  occupancy(now: number): number {
    let live = 0;
    for (let at = 0; at < this.capacity * ENTRY_WORDS; at += ENTRY_WORDS) {
      if (this.words[at + STATE] !== 0 && now - this.words[at + SEEN] <= this.timeout) live++;
    }
    return live;
  }
}
