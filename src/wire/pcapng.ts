/**
 * pcapng capture files (draft-ietf-opsawg-pcapng): blocks, each with its length at both ends so that a file can be read backwards. Read: section header,
 * interface description, enhanced, simple and obsolete packet blocks, in both byte orders; other blocks are stepped over. Written: little-endian,
 * one interface, nanoseconds.
 *
 *     block:    | type 4 | length 4 | body, padded to 4 … | length 4 |
 *     section:  body = | byte-order magic 4 | major 2 | minor 2 | section length 8 | options |
 *     interface body = | link type 2 | 0 (2) | snap length 4 | options |
 *     enhanced: body = | interface 4 | time high 4 | time low 4 | captured 4 | original 4 | frame, padded | options |
 *     option:          | code 2 | length 2 | value, padded to 4 |
 */
import type { CodedError } from '../base/errors.ts';
import type { CaptureReader } from './capture.ts';
import type { CaptureSource } from './capture-source.ts';
import { formatError, truncatedError } from './pcap.ts';

const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const OBSOLETE_PACKET = 2;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;
const READ = new Set([SECTION, INTERFACE, OBSOLETE_PACKET, SIMPLE_PACKET, ENHANCED_PACKET]);
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const OPTION_END = 0;
const OPTION_COMMENT = 1;
/** if_name, of an interface. */
const OPTION_NAME = 2;
const OPTION_TIME_RESOLUTION = 9;
const OPTION_TIME_OFFSET = 14;
/** Type, length, length. */
const BLOCK_FRAME = 12;
const SECTION_LENGTH = 28;
const INTERFACE_LENGTH = 32;
/** Block type and length, and the five fields before the frame. */
const ENHANCED_FRAME_AT = 28;

export const PCAPNG_SECTION_LENGTH = SECTION_LENGTH;
export const PCAPNG_INTERFACE_LENGTH = INTERFACE_LENGTH;

/** True when the bytes begin like a pcapng file. */
export function isPcapng(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x0a && bytes[1] === 0x0d && bytes[2] === 0x0d && bytes[3] === 0x0a;
}

interface CaptureInterface {
  readonly linkType: number;
  /** 0 is no limit. */
  readonly snapLength: number;
  readonly ticksPerSecond: number;
  readonly offsetSeconds: number;
}

/** Reads records one after the other, without copying. Errors as PcapReader. */
export class PcapngReader implements CaptureReader {
  readonly name: string;
  linkType = -1;
  at = 0;
  length = 0;
  originalLength = 0;
  seconds = 0;
  nanoseconds = 0;
  comment = '';
  readonly #source: CaptureSource;
  /** Of `#source`, since the present block was reached. */
  #view: DataView;
  /** What to add to a place in `bytes` for its offset in the file. */
  #base = 0;
  #little = true;
  #interfaces: CaptureInterface[] = [];
  /** The interface of the present record. */
  #present: CaptureInterface | undefined;
  #next = 0;

  constructor(source: CaptureSource, name = 'capture') {
    this.#source = source;
    this.#view = source.view;
    this.name = name;
    const at = source.reach(0, Math.min(source.size, 4));
    if (!isPcapng(source.bytes.subarray(at, at + source.size)))
      throw formatError(name, 0, 'not a pcapng file: it does not begin with a section header block');
  }

  get bytes(): Uint8Array {
    return this.#source.bytes;
  }

  /** As the source's; offsets of errors count from there on. */
  #reach(at: number, length: number): number {
    const place = this.#source.reach(at, length);
    this.#view = this.#source.view;
    this.#base = at - place;
    return place;
  }

  next(): boolean {
    const { size } = this.#source;
    while (this.#next < size) {
      const start = this.#next;
      if (size - start < BLOCK_FRAME) throw truncatedError(this.name, start, 'less than a block is left');
      const at = this.#reach(start, BLOCK_FRAME);
      // A section header's type is a palindrome; its byte order must be known before its length can be read.
      const type = this.#view.getUint32(at, this.#little);
      if (type === SECTION) this.#readByteOrder(at);
      const length = this.#view.getUint32(at + 4, this.#little);
      if (length < BLOCK_FRAME || length % 4 !== 0) throw this.#error(at, `a block can not be ${length} bytes long`);
      const end = start + length;
      if (end > size) {
        throw truncatedError(this.name, start, `the block claims ${length} bytes, ${size - start} are left`);
      }
      // Of blocks that are stepped over only the lengths are looked at, however long they are.
      const isRead = READ.has(type);
      const last = isRead ? this.#reach(start, length) + length - 4 : this.#reach(end - 4, 4);
      if (this.#view.getUint32(last, this.#little) !== length) throw this.#error(last, 'the two lengths of a block differ');
      this.#next = end;
      if (isRead && this.#readBlock(type, last + 4 - length, last)) return true;
    }
    return false;
  }

  #error(at: number, what: string): CodedError {
    return formatError(this.name, this.#base + at, what);
  }

  #readByteOrder(start: number): void {
    const magic = this.#view.getUint32(start + 8, true);
    if (magic === BYTE_ORDER_MAGIC) this.#little = true;
    else if (this.#view.getUint32(start + 8) === BYTE_ORDER_MAGIC) this.#little = false;
    else throw this.#error(start + 8, 'the byte-order magic is wrong');
  }

  /** Takes in the block from `start` whose body ends at `end`; true when it is a packet. */
  #readBlock(type: number, start: number, end: number): boolean {
    const u32 = (at: number) => this.#view.getUint32(at, this.#little);
    switch (type) {
      case SECTION:
        this.#need(start, end, 24);
        this.#interfaces = [];
        return false;
      case INTERFACE:
        this.#need(start, end, 16);
        this.#interfaces.push(this.#readInterface(start, end));
        return false;
      case ENHANCED_PACKET:
        this.#need(start, end, ENHANCED_FRAME_AT);
        this.#take(start, u32(start + 8), u32(start + 20), u32(start + 24), ENHANCED_FRAME_AT, end);
        this.#readTime(u32(start + 12), u32(start + 16));
        return true;
      case OBSOLETE_PACKET:
        this.#need(start, end, 28);
        this.#take(start, this.#view.getUint16(start + 8, this.#little), u32(start + 20), u32(start + 24), 28, end);
        this.#readTime(u32(start + 12), u32(start + 16));
        return true;
      case SIMPLE_PACKET: {
        this.#need(start, end, 12);
        const original = u32(start + 8);
        const snap = this.#interfaces[0]?.snapLength || 0xffffffff;
        this.#take(start, 0, Math.min(original, snap), original, 12, end);
        this.seconds = 0;
        this.nanoseconds = 0;
        return true;
      }
      default:
        return false;
    }
  }

  #need(start: number, end: number, bytes: number): void {
    if (end - start < bytes) throw this.#error(start, `the block is too short for its type`);
  }

  #take(start: number, index: number, captured: number, original: number, frameAt: number, end: number): void {
    const from = this.#interfaces[index];
    if (from === undefined) throw this.#error(start, `the packet names interface ${index}, which the section does not describe`);
    if (captured > end - start - frameAt) throw this.#error(start, `a frame of ${captured} bytes does not fit its block`);
    this.linkType = from.linkType;
    this.at = start + frameAt;
    this.length = captured;
    this.originalLength = original;
    this.comment = '';
    const padded = this.at + ((captured + 3) & ~3);
    this.#options(padded, end, (code, at, length) => {
      if (code === OPTION_COMMENT) this.comment = new TextDecoder().decode(this.bytes.slice(at, at + length));
    });
    this.#present = from;
  }

  #readInterface(start: number, end: number): CaptureInterface {
    let ticksPerSecond = 1e6;
    let offsetSeconds = 0;
    this.#options(start + 16, end, (code, at, length) => {
      if (code === OPTION_TIME_RESOLUTION && length >= 1) {
        const exponent = this.bytes[at] & 0x7f;
        ticksPerSecond = (this.bytes[at] & 0x80) !== 0 ? 2 ** exponent : 10 ** exponent;
        // The division in readTime is exact below 2^45 ticks per second.
        if (ticksPerSecond >= 2 ** 45) throw this.#error(at, 'a time resolution finer than picoseconds is not read');
      }
      if (code === OPTION_TIME_OFFSET && length >= 8) {
        const low = this.#view.getUint32(this.#little ? at : at + 4, this.#little);
        offsetSeconds = this.#view.getInt32(this.#little ? at + 4 : at, this.#little) * 2 ** 32 + low;
      }
    });
    const linkType = this.#view.getUint16(start + 8, this.#little);
    return { linkType, snapLength: this.#view.getUint32(start + 12, this.#little), ticksPerSecond, offsetSeconds };
  }

  /** Walks the options between `from` and `end`. A block may end without the end-of-options mark. */
  #options(from: number, end: number, take: (code: number, at: number, length: number) => void): void {
    for (let at = from; at + 4 <= end; ) {
      const code = this.#view.getUint16(at, this.#little);
      const length = this.#view.getUint16(at + 2, this.#little);
      if (code === OPTION_END) return;
      if (at + 4 + length > end) throw this.#error(at, `an option of ${length} bytes does not fit its block`);
      take(code, at + 4, length);
      at += 4 + ((length + 3) & ~3);
    }
  }

  /** Time from 64 bits of ticks, by long division in bytes: the ticks themselves (nanoseconds since 1970) exceed 2^53. */
  #readTime(high: number, low: number): void {
    const { ticksPerSecond, offsetSeconds } = this.#present!;
    let quotient = 0;
    let rest = 0;
    for (let shift = 56; shift >= 0; shift -= 8) {
      const byte = shift >= 32 ? (high >>> (shift - 32)) & 0xff : (low >>> shift) & 0xff;
      const part = rest * 256 + byte;
      quotient = quotient * 256 + Math.floor(part / ticksPerSecond);
      rest = part % ticksPerSecond;
    }
    this.seconds = quotient + offsetSeconds;
    const whole = 1e9 % ticksPerSecond === 0;
    this.nanoseconds = whole ? rest * (1e9 / ticksPerSecond) : Math.floor((rest / ticksPerSecond) * 1e9);
  }
}

/** Writes the section header block, PCAPNG_SECTION_LENGTH bytes. */
export function writeSection(view: DataView, at: number): void {
  view.setUint32(at, SECTION, true);
  view.setUint32(at + 4, SECTION_LENGTH, true);
  view.setUint32(at + 8, BYTE_ORDER_MAGIC, true);
  view.setUint16(at + 12, 1, true);
  view.setUint16(at + 14, 0, true);
  // −1: the section's length is not known in advance.
  view.setInt32(at + 16, -1);
  view.setInt32(at + 20, -1);
  view.setUint32(at + 24, SECTION_LENGTH, true);
}

/** Writes an interface description block with time in nanoseconds, PCAPNG_INTERFACE_LENGTH bytes. The first is interface 0. */
export function writeInterface(view: DataView, at: number, linkType: number, snapLength = 0): void {
  view.setUint32(at, INTERFACE, true);
  view.setUint32(at + 4, INTERFACE_LENGTH, true);
  view.setUint16(at + 8, linkType, true);
  view.setUint16(at + 10, 0, true);
  view.setUint32(at + 12, snapLength, true);
  view.setUint16(at + 16, OPTION_TIME_RESOLUTION, true);
  view.setUint16(at + 18, 1, true);
  view.setUint32(at + 20, 9, true);
  view.setUint32(at + 24, OPTION_END, true);
  view.setUint32(at + 28, INTERFACE_LENGTH, true);
}

/** Bytes that `writeNamedInterface` will write for a name (UTF-8) of this length. */
export function namedInterfaceLength(nameLength: number): number {
  return INTERFACE_LENGTH + 4 + ((nameLength + 3) & ~3);
}

/** The same with a name, 1–255 bytes of UTF-8, into `out`, which is zero there. Returns its length. */
export function writeNamedInterface(out: Uint8Array, at: number, linkType: number, name: Uint8Array, snapLength = 0): number {
  const length = namedInterfaceLength(name.length);
  const view = new DataView(out.buffer, out.byteOffset + at, length);
  writeInterface(view, 0, linkType, snapLength);
  view.setUint32(4, length, true);
  const option = INTERFACE_LENGTH - 8;
  view.setUint32(option, OPTION_NAME | (name.length << 16), true);
  out.set(name, at + option + 4);
  view.setUint32(length - 8, OPTION_END, true);
  view.setUint32(length - 4, length, true);
  return length;
}

/** Bytes that `writePacket` will write for a frame and a comment (UTF-8, '' for none) of these lengths. */
export function packetBlockLength(frameLength: number, commentLength: number): number {
  const options = commentLength === 0 ? 0 : 4 + ((commentLength + 3) & ~3) + 4;
  return ENHANCED_FRAME_AT + ((frameLength + 3) & ~3) + options + 4;
}

/**
 * Writes an enhanced packet block at `at` of `out` and returns its length. `seconds` below 2^33 and `nanoseconds` since 1970. `comment` is UTF-8, at most 65,535
 * bytes, empty for none.
 */
export function writePacket(
  out: Uint8Array,
  at: number,
  interfaceNumber: number,
  seconds: number,
  nanoseconds: number,
  frame: Uint8Array,
  originalLength: number,
  comment: Uint8Array,
): number {
  const length = packetBlockLength(frame.length, comment.length);
  const view = new DataView(out.buffer, out.byteOffset + at, length);
  // seconds · 10^9 exceeds 2^53: multiply its 16-bit halves, each product below 2^47.
  const upper = Math.floor(seconds / 65536) * 1e9;
  const lower = (seconds % 65536) * 1e9 + nanoseconds;
  const low = (upper % 65536) * 65536 + (lower % 2 ** 32);
  const high = Math.floor(upper / 65536) + Math.floor(lower / 2 ** 32) + Math.floor(low / 2 ** 32);
  out.fill(0, at, at + length);
  view.setUint32(0, ENHANCED_PACKET, true);
  view.setUint32(4, length, true);
  view.setUint32(8, interfaceNumber, true);
  view.setUint32(12, high, true);
  view.setUint32(16, low % 2 ** 32, true);
  view.setUint32(20, frame.length, true);
  view.setUint32(24, originalLength, true);
  out.set(frame, at + ENHANCED_FRAME_AT);
  if (comment.length > 0) {
    const option = ENHANCED_FRAME_AT + ((frame.length + 3) & ~3);
    view.setUint16(option, OPTION_COMMENT, true);
    view.setUint16(option + 2, comment.length, true);
    out.set(comment, at + option + 4);
  }
  view.setUint32(length - 4, length, true);
  return length;
}
