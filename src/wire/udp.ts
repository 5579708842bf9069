/**
 * UDP header (RFC 768; over IPv6 RFC 8200 §8.1, zero checksum for tunnels RFC 6935).
 *
 *     0             2                  4        6          8
 *     | source port | destination port | length | checksum | payload
 */
import { WIRE_MALFORMED, WIRE_OK, WIRE_TRUNCATED } from './check.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const MALFORMED = WIRE_MALFORMED;
const SOURCE_PORT = 0;
const DESTINATION_PORT = 2;
const LENGTH = 4;
const CHECKSUM = 6;
const HEADER = 8;

export const HEADER_LENGTH = HEADER;
export const SOURCE_PORT_AT = SOURCE_PORT;
export const DESTINATION_PORT_AT = DESTINATION_PORT;
export const LENGTH_AT = LENGTH;
/** The virtio-net csum_offset of UDP. */
export const CHECKSUM_AT = CHECKSUM;

/** WIRE_OK when 8 ≤ length field, and it ends at or before `end`. (A jumbogram's length 0, RFC 2675, is malformed here.) */
export function check(view: DataView, at: number, end: number): number {
  if (end - at < HEADER) return TRUNCATED;
  const claimed = view.getUint16(at + LENGTH);
  return claimed < HEADER || claimed > end - at ? MALFORMED : OK;
}

export function sourcePort(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE_PORT);
}

export function destinationPort(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION_PORT);
}

/** Both ports as one int32: source in the upper half. */
export function ports(view: DataView, at: number): number {
  return view.getInt32(at + SOURCE_PORT);
}

/** Bytes of header and payload. */
export function length(view: DataView, at: number): number {
  return view.getUint16(at + LENGTH);
}

/** 0 means: the sender computed none. */
export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

export function setSourcePort(view: DataView, at: number, value: number): void {
  view.setUint16(at + SOURCE_PORT, value);
}

export function setDestinationPort(view: DataView, at: number, value: number): void {
  view.setUint16(at + DESTINATION_PORT, value);
}

export function setLength(view: DataView, at: number, value: number): void {
  view.setUint16(at + LENGTH, value);
}

export function setChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value);
}

/** Writes the whole header: two 32-bit stores. `checksumField` 0 means none. */
export function write(
  view: DataView,
  at: number,
  source: number,
  destination: number,
  lengthField: number,
  checksumField: number,
): void {
  view.setInt32(at, (source << 16) | destination);
  view.setInt32(at + LENGTH, (lengthField << 16) | checksumField);
}

export interface Udp {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly length: number;
  readonly checksum: number;
}

/** The header as a plain object, null when `check` refuses it. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Udp | null {
  if (check(view, at, end) !== OK) return null;
  return {
    sourcePort: sourcePort(view, at),
    destinationPort: destinationPort(view, at),
    length: length(view, at),
    checksum: checksum(view, at),
  };
}

export function text(header: Udp): string {
  return `UDP ${header.sourcePort} > ${header.destinationPort} length ${header.length}${header.checksum === 0 ? ' no-checksum' : ''}`;
}
