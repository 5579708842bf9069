/**
 * Fragments that came before the first one of their datagram, copied aside until it is seen: by this thread, which then says `wake`, or by another
 * one, in whose table `poll` looks. What was woken comes back as frames of a batch of its own, and goes through all stages as if it had just been
 * received. Memory is allocated once; when it is full the fragment that has waited longest makes room.
 *
 *     places      a ring, oldest first:   | key | state | second | bytes at, length | source | next of its chain |
 *                                           ^ tail                                    ^ head
 *     bytes       a ring; a frame lies in one piece:   | frame | frame | … | unused end |
 *
 * Limits: bytes and number of all, and the number of one source (by a keyed hash of its address: sources that share a cell share its limit).
 */
import { HEADROOM } from '../base/arena.ts';
import type { Batch } from '../base/batch.ts';
import { dropReason } from '../base/drop-reason.ts';
import { VERDICT_DROP } from '../base/verdict.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { FragmentTable } from './fragment-table.ts';

const NONE = dropReason('none');
const WAITING = 1;
const WOKEN = 2;
const GONE = 0;
const SOURCE_CELLS = 1024;
/** Places that one `poll` looks at: what more there is is looked at by the next. */
const POLL_SHARE = 256;
const WORD = 4;

export interface FragmentHoldOptions {
  /** Bytes of all frames. Default 4 MiB. */
  readonly bytes?: number;
  /** Frames; rounded up to a power of two. Default 4,096. */
  readonly frames?: number;
  /** Frames of one source. Default 512. */
  readonly perSource?: number;
  /** Whole seconds that a frame waits at least. Default 1. */
  readonly timeout?: number;
  /** Secret words: which sources share a cell can not be chosen. */
  readonly key?: Int32Array;
}

/** Told of a frame that left without having been woken: its number as `add` counted, whether its time was over (or room was needed), and where it lies. */
export type FrameLost = (number: number, timedOut: boolean, view: DataView, at: number, length: number) => void;

export class FragmentHold {
  readonly frames: number;
  readonly timeout: number;
  readonly #mask: number;
  readonly #perSource: number;
  readonly #key: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #low: Int32Array;
  readonly #high: Int32Array;
  readonly #state: Uint8Array;
  readonly #second: Int32Array;
  readonly #at: Int32Array;
  readonly #length: Int32Array;
  readonly #cell: Uint16Array;
  readonly #next: Int32Array;
  readonly #number: Int32Array;
  /** Chains of places by key; −1 ends one. */
  readonly #chains: Int32Array;
  readonly #sources: Uint16Array;
  /** Woken places, a ring. */
  readonly #ready: Int32Array;
  #readyFrom = 0;
  #readyTo = 0;
  /** Positions in the ring of places, which count on: place = position & mask. */
  #tail = 0;
  #head = 0;
  #bytesHead = 0;
  #cursor = 0;
  #newsSeen = -1;
  /** Frames that wait, woken ones included. */
  waiting = 0;
  /** Taken in, given back, lost; since the counters were last taken. */
  held = 0;
  released = 0;
  lost = 0;
  lostBytes = 0;
  #total = 0;
  /** For who tells people of each packet (replay, drop-notes.ts); null: nobody. */
  onLost: FrameLost | null = null;
  /** By index of the batch that `release` filled: the frames' numbers. */
  readonly numbers: Int32Array;

  constructor(options: FragmentHoldOptions = {}) {
    let frames = 16;
    while (frames < (options.frames ?? 4096)) frames *= 2;
    this.frames = frames;
    this.timeout = options.timeout ?? 1;
    this.#mask = frames - 1;
    this.#perSource = Math.min(options.perSource ?? 512, 0xffff);
    this.#key = options.key?.[0] ?? 0;
    this.#bytes = new Uint8Array(new ArrayBuffer((options.bytes ?? 4 << 20) & ~3));
    this.#view = new DataView(this.#bytes.buffer);
    const int32 = (length: number) => new Int32Array(new ArrayBuffer(length * 4));
    this.#low = int32(frames);
    this.#high = int32(frames);
    this.#state = new Uint8Array(new ArrayBuffer(frames));
    this.#second = int32(frames);
    this.#at = int32(frames);
    this.#length = int32(frames);
    this.#cell = new Uint16Array(new ArrayBuffer(frames * 2));
    this.#next = int32(frames);
    this.#number = int32(frames);
    this.#chains = int32(frames).fill(-1);
    this.#sources = new Uint16Array(new ArrayBuffer(SOURCE_CELLS * 2));
    this.#ready = int32(frames);
    this.numbers = int32(frames);
  }

  /** Bytes of the buffer, and most frames: the bound. */
  get capacity(): number {
    return this.#bytes.length;
  }

  /** True when frames are woken that `release` would give. */
  get hasReady(): boolean {
    return this.#readyFrom !== this.#readyTo;
  }

  #cellOf(batch: Batch, i: number): number {
    const { view } = batch.arena;
    const at = batch.networkAt[i];
    let word = this.#key;
    if (batch.family[i] === 4) word ^= view.getInt32(at + ipv4.SOURCE_AT);
    else {
      // A network of 64 bits is one source: its host may take any address in it.
      word = Math.imul(word ^ view.getInt32(at + ipv6.SOURCE_AT), 0x85ebca6b) ^ view.getInt32(at + ipv6.SOURCE_AT + 4);
    }
    const mixed = Math.imul(word ^ (word >>> 15), 0x9e3779b1);
    return (mixed ^ (mixed >>> 13)) >>> 22;
  }

  /** Copies frame `i` aside; false when its source has too many, or none can make room. `low`, `high`: the datagram's key. */
  add(batch: Batch, i: number, low: number, high: number, now: number): boolean {
    const length = batch.frameLength[i];
    const cell = this.#cellOf(batch, i);
    // A tag that was put back makes a frame longer than the place it is to come back to.
    if (length > this.#bytes.length || length > batch.frameCapacity || this.#sources[cell] >= this.#perSource) return false;
    if (((this.#head - this.#tail) | 0) === this.frames && !this.#giveUpOldest(false)) return false;
    const at = this.#roomFor((length + WORD - 1) & ~(WORD - 1));
    if (at < 0) return false;
    const place = this.#head & this.#mask;
    this.#head = (this.#head + 1) | 0;
    this.#low[place] = low;
    this.#high[place] = high;
    this.#state[place] = WAITING;
    this.#second[place] = now;
    this.#at[place] = at;
    this.#length[place] = length;
    this.#cell[place] = cell;
    this.#number[place] = this.#total;
    this.#total = (this.#total + 1) | 0;
    this.#sources[cell]++;
    const chain = low & this.#mask;
    this.#next[place] = this.#chains[chain];
    this.#chains[chain] = place;
    const from = batch.frameAt[i];
    copyWords(batch.arena.view, from, this.#view, at, length);
    this.waiting++;
    this.held++;
    return true;
  }

  /** Bytes in one piece; the oldest frames go until there are; −1 when a woken one is in the way. */
  #roomFor(length: number): number {
    for (;;) {
      if (this.#tail === this.#head) {
        this.#bytesHead = length;
        return 0;
      }
      const begin = this.#at[this.#tail & this.#mask];
      const head = this.#bytesHead;
      if (head > begin) {
        if (head + length <= this.#bytes.length) {
          this.#bytesHead = head + length;
          return head;
        }
        // Never quite up to the oldest: head equal to its begin means full.
        if (length < begin) {
          this.#bytesHead = length;
          return 0;
        }
      } else if (head + length < begin) {
        this.#bytesHead = head + length;
        return head;
      }
      if (!this.#giveUpOldest(false)) return -1;
    }
  }

  /** The oldest frame makes room; false when it is woken and only waits for its batch. */
  #giveUpOldest(timedOut: boolean): boolean {
    const place = this.#tail & this.#mask;
    if (this.#state[place] === WOKEN) return false;
    if (this.#state[place] === WAITING) {
      this.#unchain(place);
      this.lost++;
      this.lostBytes += this.#length[place];
      this.onLost?.(this.#number[place], timedOut, this.#view, this.#at[place], this.#length[place]);
      this.#leave(place);
    }
    this.#advance();
    return true;
  }

  /** The tail moves on over places that are empty. */
  #advance(): void {
    while (this.#tail !== this.#head && this.#state[this.#tail & this.#mask] === GONE) this.#tail = (this.#tail + 1) | 0;
  }

  #leave(place: number): void {
    this.#state[place] = GONE;
    this.#sources[this.#cell[place]]--;
    this.waiting--;
  }

  #unchain(place: number): void {
    const chain = this.#low[place] & this.#mask;
    let here = this.#chains[chain];
    if (here === place) {
      this.#chains[chain] = this.#next[place];
      return;
    }
    while (here >= 0) {
      const next = this.#next[here];
      if (next === place) {
        this.#next[here] = this.#next[place];
        return;
      }
      here = next;
    }
  }

  /** The first fragment of this datagram was seen: whatever waits for it is ready. */
  wake(low: number, high: number): void {
    if (this.waiting === 0) return;
    const chain = low & this.#mask;
    let before = -1;
    let here = this.#chains[chain];
    while (here >= 0) {
      const next = this.#next[here];
      if (this.#low[here] === low && this.#high[here] === high) {
        if (before < 0) this.#chains[chain] = next;
        else this.#next[before] = next;
        this.#state[here] = WOKEN;
        this.#ready[this.#readyTo & this.#mask] = here;
        this.#readyTo = (this.#readyTo + 1) | 0;
      } else {
        before = here;
      }
      here = next;
    }
  }

  /** Looks for first fragments that other threads have seen. A part of what waits at a time, and nothing while nobody has news. */
  poll(siblings: readonly FragmentTable[], now: number): void {
    if (this.waiting === 0 || siblings.length === 0) return;
    let news = 0;
    for (let s = 0; s < siblings.length; s++) news = (news + siblings[s].news) | 0;
    if (((this.#cursor - this.#tail) | 0) < 0) this.#cursor = this.#tail;
    for (let looked = 0; looked < POLL_SHARE; looked++) {
      if (this.#cursor === this.#head) {
        // What came since was looked at; the others once more, when there is something new to see.
        if (news === this.#newsSeen) return;
        this.#newsSeen = news;
        this.#cursor = this.#tail;
      }
      const place = this.#cursor & this.#mask;
      this.#cursor = (this.#cursor + 1) | 0;
      if (this.#state[place] !== WAITING) continue;
      const low = this.#low[place];
      const high = this.#high[place];
      for (let s = 0; s < siblings.length; s++) {
        if (!siblings[s].findForeign(low, high, now)) continue;
        this.wake(low, high);
        break;
      }
    }
  }

  /** Lets go what has waited too long. */
  expire(now: number): void {
    while (this.#tail !== this.#head) {
      const place = this.#tail & this.#mask;
      if (this.#state[place] === WOKEN) return;
      if (this.#state[place] === WAITING && now - this.#second[place] <= this.timeout) return;
      this.#giveUpOldest(true);
    }
  }

  /** Fills `batch`, which must be finished, with woken frames as a driver would. Returns how many; `numbers` says which. */
  release(batch: Batch): number {
    let count = 0;
    while (count < batch.capacity && this.#readyFrom !== this.#readyTo) {
      const place = this.#ready[this.#readyFrom & this.#mask];
      this.#readyFrom = (this.#readyFrom + 1) | 0;
      if (batch.homeAt !== null) batch.slotAt[count] = batch.homeAt[count];
      const to = batch.slotAt[count] + HEADROOM;
      copyWords(this.#view, this.#at[place], batch.arena.view, to, this.#length[place]);
      batch.frameAt[count] = to;
      batch.frameLength[count] = this.#length[place];
      batch.virtioFlags[count] = 0;
      batch.gsoType[count] = 0;
      batch.gsoSize[count] = 0;
      batch.headerLength[count] = 0;
      batch.csumStart[count] = 0;
      batch.csumOffset[count] = 0;
      batch.verdict[count] = VERDICT_DROP;
      batch.reason[count] = NONE;
      this.numbers[count] = this.#number[place];
      this.#leave(place);
      this.released++;
      count++;
    }
    this.#advance();
    batch.count = count;
    return count;
  }
}

/** Whole words, the last one perhaps beyond `length`: slots and places have room for it. */
function copyWords(source: DataView, from: number, target: DataView, to: number, length: number): void {
  for (let w = 0; w < length; w += WORD) target.setInt32(to + w, source.getInt32(from + w, true), true);
}
