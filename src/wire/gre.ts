/**
 * Generic Routing Encapsulation, version 0 (RFC 2784; Linux include/net/gre.h), IP protocol 47.
 *
 *     0                1                2               4          6          8
 *     | C 0 0 0 …      | … version      | protocol type | checksum | reserved |     checksum and reserved only when C is set
 *       └ a checksum follows             └ EtherType of what is carried: 0x0800 IPv4, 0x86dd IPv6
 *
 * Key and sequence number (RFC 2890) are flags that we neither write nor read.
 */
import { WIRE_MALFORMED, WIRE_OK, WIRE_TRUNCATED } from './check.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const MALFORMED = WIRE_MALFORMED;
const FLAGS = 0;
const TYPE = 2;
const CHECKSUM = 4;
const HEADER = 4;
const CHECKSUM_FIELDS = 4;
const HAS_CHECKSUM = 0x8000;

/** Without the checksum. */
export const HEADER_LENGTH = HEADER;
export const HEADER_LENGTH_CHECKSUM = HEADER + CHECKSUM_FIELDS;
export const CHECKSUM_AT = CHECKSUM;
export const PROTOCOL_TYPE_AT = TYPE;
/** Flag: checksum and a reserved word follow. */
export const FLAG_CHECKSUM = HAS_CHECKSUM;

/** WIRE_OK for a version 0 header without other flags than the checksum's that lies before `end`. */
export function check(view: DataView, at: number, end: number): number {
  if (end - at < HEADER) return TRUNCATED;
  if ((flags(view, at) & ~HAS_CHECKSUM) !== 0) return MALFORMED;
  return headerLength(view, at) > end - at ? TRUNCATED : OK;
}

/** Flags and version, 16 bits. */
export function flags(view: DataView, at: number): number {
  return view.getUint16(at + FLAGS);
}

export function hasChecksum(view: DataView, at: number): boolean {
  return (flags(view, at) & HAS_CHECKSUM) !== 0;
}

/** 4, or 8 with a checksum. Only after `check`. */
export function headerLength(view: DataView, at: number): number {
  return hasChecksum(view, at) ? HEADER + CHECKSUM_FIELDS : HEADER;
}

/** EtherType of the payload. */
export function protocolType(view: DataView, at: number): number {
  return view.getUint16(at + TYPE);
}

/** The Internet checksum of header and payload, without a pseudo-header. Only with FLAG_CHECKSUM. */
export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

export function setChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value);
}

/** Writes 4 bytes, or 8 with a checksum field of 0 to be filled in. */
export function write(view: DataView, at: number, type: number, withChecksum: boolean): void {
  view.setInt32(at, withChecksum ? (HAS_CHECKSUM << 16) | type : type);
  if (withChecksum) view.setInt32(at + CHECKSUM, 0);
}

export interface Gre {
  readonly headerLength: number;
  readonly protocolType: number;
  /** Null when there is none. */
  readonly checksum: number | null;
}

/** The header as a plain object, null when `check` refuses it. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Gre | null {
  if (check(view, at, end) !== OK) return null;
  return {
    headerLength: headerLength(view, at),
    protocolType: protocolType(view, at),
    checksum: hasChecksum(view, at) ? checksum(view, at) : null,
  };
}

export function text(header: Gre): string {
  const sum = header.checksum === null ? '' : ` checksum 0x${header.checksum.toString(16).padStart(4, '0')}`;
  return `GRE type 0x${header.protocolType.toString(16).padStart(4, '0')}${sum}`;
}
