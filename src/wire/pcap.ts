/**
 * Classic capture files (draft-ietf-opsawg-pcap): a file header, then records. Read in both byte orders and both time units;
 * written little-endian with nanoseconds.
 *
 *     file:   | magic 4 | major 2 | minor 2 | 0 (8) | snap length 4 | link type 4 |            24 bytes
 *     record: | seconds 4 | µs or ns 4 | captured length 4 | original length 4 | frame |      16 bytes + frame
 */
import { CodedError } from '../base/errors.ts';
import type { CaptureReader } from './capture.ts';
import type { CaptureSource } from './capture-source.ts';

const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const FILE_HEADER = 24;
const RECORD_HEADER = 16;

export const PCAP_FILE_HEADER_LENGTH = FILE_HEADER;
export const PCAP_RECORD_HEADER_LENGTH = RECORD_HEADER;

/** Link types (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcaplinktype). */
export const LINKTYPE_NULL = 0;
export const LINKTYPE_ETHERNET = 1;
/** The frame starts with an IP header, either version. */
export const LINKTYPE_RAW = 101;
export const LINKTYPE_LOOP = 108;
export const LINKTYPE_IPV4 = 228;
export const LINKTYPE_IPV6 = 229;

function endianOf(view: DataView, at: number): { little: boolean; nanoseconds: boolean } | null {
  for (const little of [true, false]) {
    const magic = view.getUint32(at, little);
    if (magic === MAGIC_MICROSECONDS || magic === MAGIC_NANOSECONDS) return { little, nanoseconds: magic === MAGIC_NANOSECONDS };
  }
  return null;
}

/**
 * Reads records one after the other, without copying: `next` moves to the following record and the fields describe it. Throws
 * CodedError GD_WIRE_CAPTURE_FORMAT or GD_WIRE_CAPTURE_TRUNCATED, both naming `name` and the byte offset of the fault.
 */
export class PcapReader implements CaptureReader {
  readonly name: string;
  readonly linkType: number;
  readonly comment = '';
  at = 0;
  length = 0;
  originalLength = 0;
  seconds = 0;
  nanoseconds = 0;
  readonly #source: CaptureSource;
  readonly #little: boolean;
  readonly #toNanoseconds: number;
  #next = FILE_HEADER;

  constructor(source: CaptureSource, name = 'capture') {
    this.#source = source;
    this.name = name;
    const { size } = source;
    const at = source.reach(0, Math.min(size, FILE_HEADER));
    const order = size >= 4 ? endianOf(source.view, at) : null;
    if (order === null) throw formatError(name, 0, 'not a capture file: the magic number is none of pcap');
    if (size < FILE_HEADER) throw truncatedError(name, size, `the file header needs ${FILE_HEADER} bytes`);
    this.#little = order.little;
    this.#toNanoseconds = order.nanoseconds ? 1 : 1000;
    // The upper bits tell of a frame check sequence.
    this.linkType = source.view.getUint32(at + 20, order.little) & 0xffff;
  }

  get bytes(): Uint8Array {
    return this.#source.bytes;
  }

  next(): boolean {
    const source = this.#source;
    const start = this.#next;
    const left = source.size - start;
    if (left === 0) return false;
    if (left < RECORD_HEADER)
      throw truncatedError(this.name, start, `a record header needs ${RECORD_HEADER} bytes, ${left} are left`);
    const header = source.reach(start, RECORD_HEADER);
    const { view } = source;
    const length = view.getUint32(header + 8, this.#little);
    if (length > left - RECORD_HEADER) {
      throw truncatedError(this.name, start, `the record claims ${length} bytes, ${left - RECORD_HEADER} are left`);
    }
    this.seconds = view.getUint32(header, this.#little);
    this.nanoseconds = view.getUint32(header + 4, this.#little) * this.#toNanoseconds;
    this.length = length;
    this.originalLength = view.getUint32(header + 12, this.#little);
    this.at = source.reach(start, RECORD_HEADER + length) + RECORD_HEADER;
    this.#next = start + RECORD_HEADER + length;
    return true;
  }
}

/** Writes the 24-byte file header at `at`. */
export function writeFileHeader(view: DataView, at: number, linkType: number, snapLength = 262144): void {
  view.setUint32(at, MAGIC_NANOSECONDS, true);
  view.setUint16(at + 4, 2, true);
  view.setUint16(at + 6, 4, true);
  view.setUint32(at + 8, 0);
  view.setUint32(at + 12, 0);
  view.setUint32(at + 16, snapLength, true);
  view.setUint32(at + 20, linkType, true);
}

/** Writes the 16-byte record header at `at`; `length` bytes of frame must follow. `originalLength` ≥ `length`. */
export function writeRecordHeader(
  view: DataView,
  at: number,
  seconds: number,
  nanoseconds: number,
  length: number,
  originalLength: number,
): void {
  view.setUint32(at, seconds, true);
  view.setUint32(at + 4, nanoseconds, true);
  view.setUint32(at + 8, length, true);
  view.setUint32(at + 12, originalLength, true);
}

/** The file is not what its format says, at byte `offset`. */
export function formatError(name: string, offset: number, what: string): CodedError {
  return new CodedError('GD_WIRE_CAPTURE_FORMAT', `${name}: byte ${offset}: ${what}`, {
    hint: 'pcap and pcapng are read; convert others with: editcap -F pcapng IN OUT',
  });
}

/** The file ends inside what starts at byte `offset`. */
export function truncatedError(name: string, offset: number, what: string): CodedError {
  return new CodedError('GD_WIRE_CAPTURE_TRUNCATED', `${name}: byte ${offset}: ${what}`, {
    hint:
      offset < FILE_HEADER
        ? 'the file ends before its first record: there is nothing in it to keep; capture again'
        : `the capture was cut off while it was written; keep its whole records with: head -c ${offset} IN > OUT`,
  });
}
