/**
 * One queue of an interface as one thread has it: an AF_XDP socket and the frames that travel through its rings. The arena of the thread's batch is the
 * socket's UMEM, so that a packet leaves from where it was received.
 *
 *     frame:  | 256: the kernel's headroom, room for outer headers | packet, up to 1,856 bytes |     stride 2,112
 *             ^ slotAt                                             ^ frameAt
 *
 * A packet larger than that comes in several frames (jumbo frames, super-packets in generic mode) and is put together in a large slot of its column, which is no
 * frame and can not be sent from.
 *
 * Every frame is in exactly one place: free here, lent to the kernel for receiving, a column of the batch, or handed over for sending.
 *
 *            ┌── lend ──► fill ring ─► kernel ─► receive ring ──┐
 *     free ──┤                                                  ├─► batch column (its old frame becomes free)
 *            └──────────────── swap, when sent ─────────────────┘
 *       ▲                                                  │
 *       └── completion ring ◄─ kernel ◄─ transmit ring ◄───┘ send
 */
import { Arena, BATCH_RECORDS, SMALL_STRIDE } from '../../base/arena.ts';
import { Batch, type IngressFacts } from '../../base/batch.ts';
import { E } from '../../raw-socket/library.ts';
import { XDP_CONTINUES, XDP_PACKET_HEADROOM, XdpSocket } from '../../raw-socket/xdp-socket.ts';
import type { MappedBatch } from '../driver.ts';
import { clearFrame, markTruncated } from '../frame.ts';
import { mapPacketMemory, type PacketMemory } from '../packet-memory.ts';

const STRIDE = SMALL_STRIDE;
/** Packets of one batch at most. */
export const MOST_COLUMNS = 256;
/** Packets that may wait to be received, and that may be on their way out, unless somebody says otherwise. */
export const RECEIVE_RING = 2048;
export const TRANSMIT_RING = 1024;
/** Frames' worth of memory beside the UMEM for one packet of any size: 67,584 bytes. Untouched it costs nothing. */
const LARGE_FRAMES = 32;
const LARGE = LARGE_FRAMES * STRIDE;
const CONTINUES = XDP_CONTINUES;
/** How often a full kernel is asked again to take what is to be sent, before it is left for the next batch. */
const WAKE_ATTEMPTS = 64;

/** What a wake-up answers when it sent only some of it, or the device's queue is full for the moment. */
const { EAGAIN, EBUSY, ENOBUFS, EINTR } = E;

function isPassing(number: number): boolean {
  return number === EAGAIN || number === EBUSY || number === ENOBUFS || number === EINTR;
}

/** Bytes of the largest packet that a frame takes, link header included. */
export const FRAME_BYTES = STRIDE - XDP_PACKET_HEADROOM;
/** Of these the IP packet at most, behind an Ethernet header with one tag. */
export const FRAME_IP_BYTES = FRAME_BYTES - 18;

export interface PortOptions {
  readonly device: string;
  readonly interfaceIndex: number;
  readonly queue: number;
  /** Packets that may wait to be received, a power of two; default RECEIVE_RING. */
  readonly receiveRing?: number;
  /** Packets that may be on their way out, a power of two; default TRANSMIT_RING. */
  readonly transmitRing?: number;
  /** The device reads and writes the frames itself, where it can; default false. */
  readonly zeroCopy?: boolean;
  /** Packets larger than a frame are received where the kernel can; default true. Without, they are dropped and counted. */
  readonly largePackets?: boolean;
}

export class XdpPort {
  readonly socket: XdpSocket;
  readonly arena: Arena;
  readonly #memory: PacketMemory;
  /** Bytes of the UMEM; behind it lie the large slots, one for each column. */
  readonly #framesEnd: number;
  #hasBatch = false;
  readonly #free: Int32Array;
  #freeCount = 0;
  /** Frames in the fill ring or the receive ring, or being filled; at most as many as the fill ring has entries. */
  #lent = 0;
  readonly #mostLent: number;
  /** Frames in the transmit ring, on their way, or in the completion ring. */
  #sending = 0;
  readonly #mostSending: number;
  /** Frames put into the transmit ring since the last flush. */
  #prepared = 0;
  /** errno of the last wake-up that failed for another reason than "not all of it now"; 0 when none did. */
  lastErrno = 0;
  /** Of no meaning: that looking at packets was not for nothing, so that the compiler leaves it in. */
  seen = 0;
  #open = true;

  constructor(options: PortOptions) {
    const receive = options.receiveRing ?? RECEIVE_RING;
    const transmit = options.transmitRing ?? TRANSMIT_RING;
    this.#mostLent = receive;
    this.#mostSending = transmit;
    const frames = receive + transmit + MOST_COLUMNS;
    this.#framesEnd = frames * STRIDE;
    const slots = frames + MOST_COLUMNS * LARGE_FRAMES;
    this.#memory = mapPacketMemory(Arena.bytesFor(slots, STRIDE, BATCH_RECORDS));
    this.arena = new Arena(this.#memory.buffer, slots, STRIDE, this.#memory.address, BATCH_RECORDS);
    this.#memory.summedThrough(this.arena.view);
    this.#free = new Int32Array(frames);
    // The first frame is on top.
    for (let frame = frames - 1; frame >= 0; frame--) this.#free[this.#freeCount++] = frame * STRIDE;
    this.socket = new XdpSocket({
      device: options.device,
      interfaceIndex: options.interfaceIndex,
      queue: options.queue,
      address: this.#memory.address,
      bytes: frames * STRIDE,
      stride: STRIDE,
      fill: receive,
      receive,
      transmit,
      // What is on its way has a place to come back to.
      completion: transmit,
      zeroCopy: options.zeroCopy ?? false,
      severalFrames: options.largePackets ?? true,
    });
    this.lend();
  }

  /** The batch whose columns hold frames of this port: one at a time, of up to 256 columns; otherwise throws RangeError. */
  createBatch(facts: IngressFacts, capacity: number): MappedBatch {
    if (this.#hasBatch || capacity > MOST_COLUMNS) throw new RangeError(`one batch of up to ${MOST_COLUMNS}, not ${capacity}`);
    this.#hasBatch = true;
    const batch = new Batch(this.arena, facts, capacity);
    for (let i = 0; i < capacity; i++) batch.slotAt[i] = this.#take();
    return {
      batch,
      release: () => {
        for (let i = 0; i < capacity; i++) this.#giveColumn(batch.slotAt[i]);
        this.#hasBatch = false;
      },
    };
  }

  /** Fills the batch from the receive ring; the frames its columns had until now are lent again. */
  receive(batch: Batch): number {
    const ring = this.socket.received;
    const waiting = ring.waiting();
    const { words } = ring;
    const { capacity, slotAt, frameAt, frameLength } = batch;
    this.#touch(Math.min(waiting, capacity));
    let count = 0;
    let taken = 0;
    while (taken < waiting && count < capacity) {
      const at = ring.descriptorAt(taken);
      if ((words[at + 3] & CONTINUES) !== 0) {
        const parts = this.#gather(batch, count, taken, waiting);
        if (parts === 0) break;
        taken += parts;
        count++;
        continue;
      }
      const frame = words[at];
      this.#giveColumn(slotAt[count]);
      slotAt[count] = frame;
      clearFrame(batch, count);
      // Where in its frame the packet begins stands in the top 16 bits (XSK_UNALIGNED_BUF_OFFSET_SHIFT).
      frameAt[count] = frame + (words[at + 1] >>> 16);
      frameLength[count] = words[at + 2];
      taken++;
      count++;
    }
    if (taken > 0) {
      ring.next = (ring.next + taken) | 0;
      ring.release();
      this.#lent -= taken;
      this.lend();
    }
    batch.count = count;
    return count;
  }

  /**
   * Looks at the beginning of the next `count` packets, which another processor wrote: in a loop that does nothing else the processor waits for some ten of them at
   * once, where the first stage would wait for each (100 ns).
   */
  #touch(count: number): void {
    const ring = this.socket.received;
    const { words } = ring;
    const { bytes } = this.arena;
    let seen = 0;
    for (let k = 0; k < count; k++) {
      const at = ring.descriptorAt(k);
      seen ^= bytes[words[at] + (words[at + 1] >>> 16)];
    }
    this.seen = seen;
  }

  /** True when column `i` holds a frame, from which can be sent. */
  holdsFrame(batch: Batch, i: number): boolean {
    return batch.slotAt[i] < this.#framesEnd;
  }

  /**
   * Puts the packet that begins with the `first`-th waiting descriptor together in the large slot of column `i`. Returns how many descriptors it took, 0 when its last
   * one is not there yet.
   */
  #gather(batch: Batch, i: number, first: number, waiting: number): number {
    const ring = this.socket.received;
    const { words } = ring;
    let parts = 1;
    while ((words[ring.descriptorAt(first + parts - 1) + 3] & CONTINUES) !== 0) if (first + ++parts > waiting) return 0;
    const { bytes } = this.arena;
    const slot = this.#framesEnd + i * LARGE;
    this.#giveColumn(batch.slotAt[i]);
    batch.slotAt[i] = slot;
    clearFrame(batch, i);
    const start = slot + XDP_PACKET_HEADROOM;
    let end = start;
    for (let k = 0; k < parts; k++) {
      const at = ring.descriptorAt(first + k);
      const frame = words[at];
      const from = frame + (words[at + 1] >>> 16);
      const length = Math.min(words[at + 2], slot + LARGE - end);
      // What does not fit is no packet of IP over Ethernet.
      if (length < words[at + 2]) markTruncated(batch, i);
      bytes.copyWithin(end, from, from + length);
      end += length;
      this.#give(frame);
    }
    batch.frameAt[i] = start;
    batch.frameLength[i] = end - start;
    return parts;
  }

  /**
   * Hands column `i`'s frame over for sending: `length` bytes from `at`, which lie in it. The column has another frame then, whose content is nobody's. What
   * lies in a large slot is copied.
   * False when the packet is too long or there is no room: nothing has changed.
   */
  sendColumn(batch: Batch, i: number, at: number, length: number): boolean {
    const frame = batch.slotAt[i];
    if (frame >= this.#framesEnd) return this.sendCopy(at, length);
    if (length > STRIDE || at < frame || at + length > frame + STRIDE || !this.#hasRoom()) return false;
    this.#put(at, length);
    batch.slotAt[i] = this.#take();
    return true;
  }

  /** Hands over a copy of `length` bytes of the arena, for what lies in no frame of its own. False as above. */
  sendCopy(from: number, length: number): boolean {
    if (length > FRAME_BYTES) return false;
    const frame = this.borrow();
    if (frame < 0) return false;
    const at = this.packetAt(frame);
    this.arena.bytes.copyWithin(at, from, from + length);
    this.sendBorrowed(at, length);
    return true;
  }

  /** A free frame to write a packet into, until `sendBorrowed` or `giveBack`; −1 when none may be sent now. */
  borrow(): number {
    return this.#hasRoom() ? this.#take() : -1;
  }

  /** Where in a borrowed frame a packet of up to FRAME_BYTES bytes is written. */
  packetAt(frame: number): number {
    return frame + XDP_PACKET_HEADROOM;
  }

  /** Hands over a borrowed frame: `length` bytes from `at`, which lie in it. */
  sendBorrowed(at: number, length: number): void {
    this.#put(at, length);
  }

  giveBack(frame: number): void {
    this.#give(frame);
  }

  /** The kernel gets what was handed over since the last flush, and is woken when it wants to be. */
  flush(): void {
    const { transmit } = this.socket;
    if (this.#prepared > 0) {
      this.#prepared = 0;
      transmit.submit();
    }
    for (let attempt = 0; attempt < WAKE_ATTEMPTS && this.#waitsForKernel(); attempt++) {
      if (!transmit.needsWakeup) break;
      const number = this.socket.wakeTransmit();
      this.#reap();
      if (number !== 0 && !isPassing(number)) {
        this.lastErrno = number;
        break;
      }
    }
    this.#reap();
  }

  /** Free frames go to the kernel, as many as it may have. */
  lend(): void {
    const { fill } = this.socket;
    let count = this.#mostLent - this.#lent;
    if (count > this.#freeCount) count = this.#freeCount;
    const room = fill.free();
    if (count > room) count = room;
    if (count === 0) return;
    const { words } = fill;
    for (let k = 0; k < count; k++) {
      const at = fill.placeAt(k);
      words[at] = this.#take();
      words[at + 1] = 0;
    }
    fill.next = (fill.next + count) | 0;
    fill.submit();
    this.#lent += count;
    if (fill.needsWakeup) this.socket.wakeFill();
  }

  /** Where every frame is: the sum never changes. */
  census(): { free: number; lent: number; sending: number } {
    return { free: this.#freeCount, lent: this.#lent, sending: this.#sending };
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.socket.close();
    this.#memory.release();
  }

  #waitsForKernel(): boolean {
    const { transmit } = this.socket;
    return transmit.free() <= transmit.mask;
  }

  /** Room for one more packet on its way out. */
  #hasRoom(): boolean {
    if (this.#sending < this.#mostSending && this.#freeCount > 0) return true;
    this.flush();
    return this.#sending < this.#mostSending && this.#freeCount > 0;
  }

  #put(at: number, length: number): void {
    const { transmit } = this.socket;
    const { words } = transmit;
    const entry = transmit.descriptorAt(0);
    words[entry] = at;
    words[entry + 1] = 0;
    words[entry + 2] = length;
    words[entry + 3] = 0;
    transmit.next = (transmit.next + 1) | 0;
    this.#prepared++;
    this.#sending++;
  }

  /** Frames that were sent are free again. */
  #reap(): void {
    const ring = this.socket.completed;
    const count = ring.waiting();
    if (count === 0) return;
    const { words } = ring;
    for (let k = 0; k < count; k++) {
      const at = words[ring.placeAt(k)];
      this.#give(at - (at % STRIDE));
    }
    ring.next = (ring.next + count) | 0;
    ring.release();
    this.#sending -= count;
  }

  #take(): number {
    return this.#free[--this.#freeCount];
  }

  /** A column lets go of what it held. */
  #giveColumn(slot: number): void {
    if (slot < this.#framesEnd) this.#give(slot);
  }

  #give(frame: number): void {
    this.#free[this.#freeCount++] = frame;
  }
}
