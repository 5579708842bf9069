/** A ring of blocks (TPACKET_V3): packets behind one another, each block given back when all of its packets have been delivered. */
import type { Batch } from '../../base/batch.ts';
import {
  BLOCK_FIRST,
  BLOCK_HEADER,
  BLOCK_PACKETS,
  BLOCK_SEQUENCE,
  BLOCK_STATUS,
  PACKET_CAPTURED,
  PACKET_HEADER,
  PACKET_LENGTH,
  PACKET_MAC,
  PACKET_NEXT,
  PACKET_STATUS,
  PACKET_VLAN_TCI,
  PACKET_VLAN_TPID,
  RING_OURS,
  type RingShape,
} from '../../raw-socket/packet-ring.ts';
import { liesWithin, placeInRing } from './ring-frame.ts';
import { RingMemory, type RingWalk } from './ring-walk.ts';

const OURS = RING_OURS;
const STATUS = BLOCK_STATUS >> 2;
const PACKETS = BLOCK_PACKETS >> 2;
const FIRST = BLOCK_FIRST >> 2;
const SEQUENCE = BLOCK_SEQUENCE >> 2;
const HEADER = PACKET_HEADER;
const NEXT = PACKET_NEXT >> 2;
const CAPTURED = PACKET_CAPTURED >> 2;
const LENGTH = PACKET_LENGTH >> 2;
const FLAGS = PACKET_STATUS >> 2;
const MAC = PACKET_MAC >> 1;
const TCI = PACKET_VLAN_TCI >> 1;
const TPID = PACKET_VLAN_TPID >> 1;

export class BlockWalk extends RingMemory implements RingWalk {
  /** A block takes packets of every size. */
  readonly largeColumns = new Int32Array(0);
  readonly large = 0;
  lost = 0;
  readonly #blockBytes: number;
  readonly #blocks: number;
  /** The next block to be opened; −1 while nobody knows where its last reader stopped. */
  #next: number;
  /** Blocks in front of it that are ours still; the last of them is the opened one. */
  #held = 0;
  /** Packets of the opened block that were not delivered yet, and where the first of them and the block's end are. */
  #left = 0;
  #at = 0;
  #end = 0;

  constructor(shape: RingShape, inherited: boolean) {
    super();
    this.#blockBytes = shape.blockBytes;
    this.#blocks = shape.blocks;
    this.#next = inherited ? -1 : 0;
  }

  take(batch: Batch, more: boolean): number {
    const words = this.words;
    const halves = this.halves;
    const { capacity } = batch;
    this.#giveBack();
    let count = 0;
    while (count < capacity) {
      if (this.#left === 0 && !(more && this.#openNext())) break;
      const at = this.#at;
      const end = this.#end;
      if ((at & 7) !== 0 || at > end - HEADER) {
        this.#abandon();
        continue;
      }
      const word = at >> 2;
      const half = at >> 1;
      const mac = at + halves[half + MAC];
      const captured = words[word + CAPTURED];
      let used = HEADER;
      if (liesWithin(mac, captured, at, end)) {
        used = mac + captured - at;
        const length = words[word + LENGTH];
        placeInRing(batch, count++, mac, captured, length, halves, words[word + FLAGS], halves[half + TCI], halves[half + TPID]);
      } else {
        this.lost++;
      }
      this.#left--;
      const step = words[word + NEXT];
      // Of a block's last packet it says nothing. The next one's headroom must be none of this one.
      if (this.#left > 0 && (step < used || step > end - at)) this.#abandon();
      this.#at = at + step;
    }
    batch.count = count;
    return count;
  }

  /** All that was delivered. The opened block is among it once nothing of it is left. */
  #giveBack(): void {
    const keep = this.#left > 0 ? 1 : 0;
    let block = this.#next - this.#held;
    if (block < 0) block += this.#blocks;
    for (; this.#held > keep; this.#held--) {
      Atomics.store(this.words, ((block * this.#blockBytes) >> 2) + STATUS, 0);
      if (++block === this.#blocks) block = 0;
    }
  }

  /** What a block says of its packets makes no sense: none of the rest is looked for. */
  #abandon(): void {
    this.lost += this.#left;
    this.#left = 0;
  }

  /** Opens the next block that has packets; false when none was handed over. */
  #openNext(): boolean {
    if (this.#next < 0 && !this.#find()) return false;
    while (this.#held < this.#blocks) {
      const start = this.#next * this.#blockBytes;
      const word = start >> 2;
      if ((Atomics.load(this.words, word + STATUS) & OURS) === 0) return false;
      this.#held++;
      if (++this.#next === this.#blocks) this.#next = 0;
      const packets = this.words[word + PACKETS];
      const first = this.words[word + FIRST];
      this.#end = start + this.#blockBytes;
      // No block holds more headers than this.
      const most = Math.floor(this.#blockBytes / HEADER);
      this.#left = packets < 0 || packets > most ? most : packets;
      this.#at = start + first;
      if (first < BLOCK_HEADER || first > this.#blockBytes - HEADER) this.#abandon();
      if (this.#left > 0) return true;
    }
    return false;
  }

  /** The block that was filled first of those that wait. Sequence numbers only grow, modulo 2^32 as we read them. False when none waits. */
  #find(): boolean {
    const words = this.words;
    let oldest = -1;
    let least = 0;
    for (let b = 0; b < this.#blocks; b++) {
      const word = (b * this.#blockBytes) >> 2;
      if ((Atomics.load(words, word + STATUS) & OURS) === 0) continue;
      const sequence = words[word + SEQUENCE];
      if (oldest >= 0 && ((sequence - least) | 0) > 0) continue;
      oldest = b;
      least = sequence;
    }
    if (oldest < 0) return false;
    this.#next = oldest;
    return true;
  }
}
