/** A ring of frames (TPACKET_V2), gone through in the order in which the kernel fills it. */
import type { Batch } from '../../base/batch.ts';
import { MAX_MESSAGES } from '../../raw-socket/message.ts';
import {
  FRAME_CAPTURED,
  FRAME_LENGTH,
  FRAME_MAC,
  FRAME_NANOSECOND,
  FRAME_SECOND,
  FRAME_VLAN_TCI,
  FRAME_VLAN_TPID,
  RING_COPY,
  RING_OURS,
  type RingShape,
} from '../../raw-socket/packet-ring.ts';
import { settleLoads } from '../memory-order.ts';
import { liesWithin, placeInRing } from './ring-frame.ts';
import { RingMemory, type RingWalk } from './ring-walk.ts';

const OURS = RING_OURS;
const COPY = RING_COPY;
const LENGTH = FRAME_LENGTH >> 2;
const CAPTURED = FRAME_CAPTURED >> 2;
const MAC = FRAME_MAC >> 1;
const TCI = FRAME_VLAN_TCI >> 1;
const TPID = FRAME_VLAN_TPID >> 1;
/** Where a packet begins in a frame with our headroom (packet.c, tpacket_rcv: aligned headers, reserve, virtio-net header); nothing depends on it. */
const USUAL_MAC = 204;

export class FrameWalk extends RingMemory implements RingWalk {
  readonly largeColumns = new Int32Array(MAX_MESSAGES);
  large = 0;
  lost = 0;
  /** Byte offset of each frame. */
  readonly #places: Int32Array;
  readonly #frameBytes: number;
  /** Of no meaning: that looking at packets was not for nothing, so that the compiler leaves it in. */
  seen = 0;
  /** The next frame; −1 while nobody knows where its last reader stopped. */
  #next: number;
  /** Frames in front of it that are ours still. */
  #held = 0;

  constructor(shape: RingShape, inherited: boolean) {
    super();
    const { blockBytes, blocks, frameBytes } = shape;
    const perBlock = Math.floor(blockBytes / frameBytes);
    this.#places = new Int32Array(perBlock * blocks);
    for (let f = 0; f < this.#places.length; f++)
      this.#places[f] = Math.floor(f / perBlock) * blockBytes + (f % perBlock) * frameBytes;
    this.#frameBytes = frameBytes;
    this.#next = inherited ? -1 : 0;
  }

  take(batch: Batch, more: boolean): number {
    const words = this.words;
    const halves = this.halves;
    const places = this.#places;
    this.#giveBack();
    this.large = 0;
    let count = 0;
    if (more && (this.#next >= 0 || this.#find())) {
      const { capacity } = batch;
      let next = this.#next;
      let held = 0;
      while (count < capacity) {
        const ready = this.#look(next, Math.min(capacity - count, places.length - held));
        if (ready === 0) break;
        held += ready;
        for (let k = 0; k < ready; k++) {
          const at = places[next];
          if (++next === places.length) next = 0;
          const word = at >> 2;
          const status = words[word];
          if ((status & COPY) !== 0) {
            this.largeColumns[this.large++] = count++;
            continue;
          }
          const half = at >> 1;
          const mac = at + halves[half + MAC];
          const captured = words[word + CAPTURED];
          // Less than the whole, and no copy in the queue: the kernel had no room there.
          if (captured !== words[word + LENGTH] || !liesWithin(mac, captured, at, at + this.#frameBytes)) {
            this.lost++;
            continue;
          }
          placeInRing(batch, count++, mac, captured, captured, halves, status, halves[half + TCI], halves[half + TPID]);
        }
      }
      this.#next = next;
      this.#held = held;
    }
    batch.count = count;
    return count;
  }

  /**
   * How many frames from `frame` on are ours, `most` at most. Their statuses are plain loads, settled behind them all: an atomic load is a call. The packets' first bytes
   * are looked at besides, because another processor wrote them: in a loop that does nothing else the processor waits for some ten of them at once, where the first stage
   * would wait for each (100 ns).
   */
  #look(frame: number, most: number): number {
    const words = this.words;
    const halves = this.halves;
    const places = this.#places;
    let ready = 0;
    let seen = 0;
    for (; ready < most; ready++) {
      const at = places[frame];
      if ((words[at >> 2] & OURS) === 0) break;
      seen ^= halves[(at + USUAL_MAC) >> 1];
      if (++frame === places.length) frame = 0;
    }
    this.seen = seen;
    if (ready > 0) settleLoads();
    return ready;
  }

  /** Plain stores behind one settling of what was read, for the same reason. */
  #giveBack(): void {
    if (this.#held === 0) return;
    const words = this.words;
    const places = this.#places;
    let frame = this.#next - this.#held;
    if (frame < 0) frame += places.length;
    settleLoads();
    for (let k = this.#held; k > 0; k--) {
      words[places[frame] >> 2] = 0;
      if (++frame === places.length) frame = 0;
    }
    this.#held = 0;
  }

  /** The oldest frame that waits: behind one that does not, or, where all do, the one with the earliest time. False when none waits. */
  #find(): boolean {
    const words = this.words;
    const places = this.#places;
    let oldest = -1;
    let before = Atomics.load(words, places[places.length - 1] >> 2);
    for (let f = 0; f < places.length; f++) {
      const word = places[f] >> 2;
      const status = Atomics.load(words, word);
      if ((status & OURS) !== 0) {
        if ((before & OURS) === 0) {
          oldest = f;
          break;
        }
        if (oldest < 0 || this.#isEarlier(word, places[oldest] >> 2)) oldest = f;
      }
      before = status;
    }
    if (oldest < 0) return false;
    this.#next = oldest;
    return true;
  }

  #isEarlier(word: number, other: number): boolean {
    const words = this.words;
    const seconds = (words[word + (FRAME_SECOND >> 2)] - words[other + (FRAME_SECOND >> 2)]) | 0;
    if (seconds !== 0) return seconds < 0;
    return words[word + (FRAME_NANOSECOND >> 2)] < words[other + (FRAME_NANOSECOND >> 2)];
  }
}
