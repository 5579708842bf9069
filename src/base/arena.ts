/**
 * The arena: one block of memory per forwarding thread, cut into equal slots. A frame lies in its slot behind at least
 * HEADROOM bytes, so that outer headers are written in front of it where it lies.
 *
 *     slot                                                     next slot
 *     |<-- headroom 128 -->|<------------ frame ------------>|..|
 *     ^ slotAt             ^ slotAt + HEADROOM
 *
 * Strides are odd multiples of 64 bytes: an even power of two makes every slot's first line fall into the same few cache
 * sets (measured: 64 KiB stride 3.62 ns per frame, 65,664 bytes 0.77 ns).
 */

/** Room in front of every received frame: Ethernet 14 + VLAN 4 + IPv6 40 + UDP 8 + GUE 4 = 70, rounded up to two lines. */
export const HEADROOM = 128;
/** Small frames: one 1,500- or 1,600-byte packet and its link header. 33 × 64. */
export const SMALL_STRIDE = 2112;
/** Super-packets: 65,535 bytes of IP and 18 of Ethernet + VLAN. 1,027 × 64. */
export const LARGE_STRIDE = 65728;

/**
 * Header records of trains (pipeline/segment.ts): outer IPv6 + UDP + GUE 52, inner IPv6 40, TCP 60, and 104 for extension headers. Four
 * cache lines: the few dozen records of a train are written and read once, in order, so the power of two does no harm here.
 */
export const RECORD_STRIDE = 256;
/**
 * Records of one batch: 64 super-packets of 64 KiB at 88 bytes a segment, the least that Linux takes for a segment's payload (TCP_MIN_MSS). Larger
 * segments leave room for fragments: two of each segment's tunnel packet, three records a segment, from 256 bytes on. Untouched records cost
 * nothing but addresses.
 */
export const BATCH_RECORDS = 49_152;

/**
 * Room behind the records for what a thread keeps beside its packets, a batch's columns, copies of backend records, the flows that are hashed and recent
 * services, in the same memory: WebAssembly reaches one only. For 256 packets, the 4,096 records of pipeline/near-backends.ts, and what lanes and services take.
 */
const ROOM = 48 * 1024 + 544 * 1024 + 32 * 1024;
const LINE = 64;

function packetBytes(slots: number, stride: number, records: number): number {
  return slots * stride + records * RECORD_STRIDE;
}

export class Arena {
  readonly memory: ArrayBufferLike;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Address of the first byte for the kernel, exact below 2^53; 0 when no driver of this thread makes system calls. */
  readonly address: number;
  readonly stride: number;
  readonly slots: number;
  /** Where the header records of trains begin, behind the last slot, and how many there are. */
  readonly recordsAt: number;
  readonly records: number;
  /** What of the room is not taken yet. */
  #roomAt: number;

  /** `memory` holds at least `bytesFor(slots, stride, records)` bytes, or those less the room for columns; `address` is where it is mapped. */
  constructor(memory: ArrayBufferLike, slots: number, stride: number, address = 0, records = 0) {
    const bytes = packetBytes(slots, stride, records);
    if (memory.byteLength < bytes) throw new RangeError(`arena needs ${bytes} bytes, got ${memory.byteLength}`);
    if (stride % 128 !== 64) throw new RangeError(`arena stride ${stride} is not an odd multiple of 64`);
    this.memory = memory;
    this.#roomAt = Math.ceil(bytes / LINE) * LINE;
    this.bytes = new Uint8Array(memory, 0, bytes);
    this.view = new DataView(memory, 0, bytes);
    this.address = address;
    this.stride = stride;
    this.slots = slots;
    this.recordsAt = slots * stride;
    this.records = records;
  }

  /** An arena in ordinary memory, without room for columns: for drivers that need no kernel (memory, pcap-file) and for tests. */
  static inProcess(slots: number, stride = LARGE_STRIDE, records = 0): Arena {
    return new Arena(new ArrayBuffer(packetBytes(slots, stride, records)), slots, stride, 0, records);
  }

  /** With the room for columns. */
  static bytesFor(slots: number, stride: number, records: number): number {
    return packetBytes(slots, stride, records) + ROOM;
  }

  /**
   * `bytes` of the arena's memory that nobody else has, zero or as somebody left them who had the memory before: where they begin, on a cache line. −1 when there is no
   * room left: whoever asks then takes other memory.
   */
  take(bytes: number): number {
    const at = this.#roomAt;
    if (at + bytes > this.memory.byteLength) return -1;
    this.#roomAt = Math.ceil((at + bytes) / LINE) * LINE;
    return at;
  }
}
