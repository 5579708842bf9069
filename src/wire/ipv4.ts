/**
 * IPv4 header (RFC 791; DSCP RFC 2474, ECN RFC 3168).
 *
 *     0        1         2                4              6                8     9        10         12       16            20
 *     |ver ihl | dscpecn | total length 2 | identification| flags fragment | ttl | protocol | checksum | source | destination | options
 */
import { formatAddress } from '../base/address.ts';
import { WIRE_MALFORMED, WIRE_OK, WIRE_TRUNCATED } from './check.ts';
import { finish, sum } from './checksum.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const MALFORMED = WIRE_MALFORMED;
const VERSION_IHL = 0;
const TRAFFIC_CLASS = 1;
const TOTAL_LENGTH = 2;
const IDENTIFICATION = 4;
const FRAGMENT = 6;
const TTL = 8;
const PROTOCOL = 9;
const CHECKSUM = 10;
const SOURCE = 12;
const DESTINATION = 16;
/** Length without options. */
const HEADER = 20;
const DF = 0x4000;
const MF = 0x2000;
const OFFSET = 0x1fff;

export const HEADER_LENGTH = HEADER;
export const TRAFFIC_CLASS_AT = TRAFFIC_CLASS;
export const TOTAL_LENGTH_AT = TOTAL_LENGTH;
export const IDENTIFICATION_AT = IDENTIFICATION;
export const FRAGMENT_AT = FRAGMENT;
export const TTL_AT = TTL;
export const PROTOCOL_AT = PROTOCOL;
/** Where source and destination address lie, one behind the other: what `pseudoSum4` takes. */
export const SOURCE_AT = SOURCE;
export const DESTINATION_AT = DESTINATION;
export const CHECKSUM_AT = CHECKSUM;

export const DONT_FRAGMENT = DF;
export const MORE_FRAGMENTS = MF;
/** Mask of the fragment offset, which counts in 8 bytes. */
export const FRAGMENT_OFFSET = OFFSET;

export const PROTOCOL_ICMP = 1;
/** IPv4 in a tunnel: what GUE's protocol byte says of an inner IPv4 packet. */
export const PROTOCOL_IPV4 = 4;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
/** IPv6 in a tunnel. */
export const PROTOCOL_IPV6 = 41;

/**
 * WIRE_OK when version is 4, 20 ≤ header ≤ total length, and the total length ends at or before `end`. The header checksum is not
 * looked at: `verifyChecksum`.
 */
export function check(view: DataView, at: number, end: number): number {
  const length = end - at;
  if (length < HEADER) return TRUNCATED;
  const first = view.getUint8(at + VERSION_IHL);
  if (first >> 4 !== 4) return MALFORMED;
  const header = (first & 15) << 2;
  const total = view.getUint16(at + TOTAL_LENGTH);
  if (header < HEADER || total < header) return MALFORMED;
  return total > length ? TRUNCATED : OK;
}

export function version(view: DataView, at: number): number {
  return view.getUint8(at + VERSION_IHL) >> 4;
}

/** Bytes of header with options, 0–60; 20–60 after `check`. */
export function headerLength(view: DataView, at: number): number {
  return (view.getUint8(at + VERSION_IHL) & 15) << 2;
}

/** DSCP and ECN: the whole second byte. */
export function trafficClass(view: DataView, at: number): number {
  return view.getUint8(at + TRAFFIC_CLASS);
}

/** Bytes of header and payload. */
export function totalLength(view: DataView, at: number): number {
  return view.getUint16(at + TOTAL_LENGTH);
}

export function identification(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFICATION);
}

/** Flags and fragment offset as they lie: DF, MORE_FRAGMENTS, FRAGMENT_OFFSET. */
export function fragment(view: DataView, at: number): number {
  return view.getUint16(at + FRAGMENT);
}

/** True for every fragment, the first included. */
export function isFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & (MF | OFFSET)) !== 0;
}

/** True for a fragment that does not hold the transport header. */
export function isLaterFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & OFFSET) !== 0;
}

export function dontFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & DF) !== 0;
}

export function ttl(view: DataView, at: number): number {
  return view.getUint8(at + TTL);
}

export function protocol(view: DataView, at: number): number {
  return view.getUint8(at + PROTOCOL);
}

export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

/** Source address as int32, big-endian order of its bytes: 192.0.2.1 is 0xc0000201 | 0. */
export function source(view: DataView, at: number): number {
  return view.getInt32(at + SOURCE);
}

export function destination(view: DataView, at: number): number {
  return view.getInt32(at + DESTINATION);
}

export function setTrafficClass(view: DataView, at: number, value: number): void {
  view.setUint8(at + TRAFFIC_CLASS, value);
}

export function setTotalLength(view: DataView, at: number, value: number): void {
  view.setUint16(at + TOTAL_LENGTH, value);
}

export function setIdentification(view: DataView, at: number, value: number): void {
  view.setUint16(at + IDENTIFICATION, value);
}

export function setFragment(view: DataView, at: number, value: number): void {
  view.setUint16(at + FRAGMENT, value);
}

export function setTtl(view: DataView, at: number, value: number): void {
  view.setUint8(at + TTL, value);
}

export function setProtocol(view: DataView, at: number, value: number): void {
  view.setUint8(at + PROTOCOL, value);
}

export function setChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value);
}

export function setSource(view: DataView, at: number, value: number): void {
  view.setInt32(at + SOURCE, value);
}

export function setDestination(view: DataView, at: number, value: number): void {
  view.setInt32(at + DESTINATION, value);
}

/**
 * Writes a whole 20-byte header, checksum included. `fragmentField` is DONT_FRAGMENT or 0; addresses are int32, all other
 * values must be within their field.
 */
export function write(
  view: DataView,
  at: number,
  trafficClassByte: number,
  total: number,
  identifier: number,
  fragmentField: number,
  timeToLive: number,
  protocolNumber: number,
  sourceAddress: number,
  destinationAddress: number,
): void {
  const first = 0x4500 | trafficClassByte;
  const ninth = (timeToLive << 8) | protocolNumber;
  view.setUint16(at + VERSION_IHL, first);
  view.setUint16(at + TOTAL_LENGTH, total);
  view.setUint16(at + IDENTIFICATION, identifier);
  view.setUint16(at + FRAGMENT, fragmentField);
  view.setUint16(at + TTL, ninth);
  view.setInt32(at + SOURCE, sourceAddress);
  view.setInt32(at + DESTINATION, destinationAddress);
  // The words are still in registers: nine additions instead of reading the header back.
  const addresses =
    (sourceAddress >>> 16) + (sourceAddress & 0xffff) + (destinationAddress >>> 16) + (destinationAddress & 0xffff);
  view.setUint16(at + CHECKSUM, finish(first + total + identifier + fragmentField + ninth + addresses));
}

/** The right checksum for the header as it lies, over IHL; the field's present value does not count. */
export function computeChecksum(view: DataView, at: number): number {
  const held = view.getUint16(at + CHECKSUM);
  return finish(sum(view, at, headerLength(view, at), ~held & 0xffff));
}

/** True when the header with options sums to 0xffff. */
export function verifyChecksum(view: DataView, at: number): boolean {
  return sum(view, at, headerLength(view, at), 0) === 0xffff;
}

/**
 * TTL − 1 with the checksum updated (RFC 1624 equation 3 for this one word: the word falls by 0x0100, so the checksum rises by it with
 * end-around carry). The TTL must be at least 1. A wrong checksum stays wrong by as much: the error is not hidden.
 */
export function decrementTtl(view: DataView, at: number): void {
  view.setUint8(at + TTL, view.getUint8(at + TTL) - 1);
  const raised = view.getUint16(at + CHECKSUM) + 0x0100;
  view.setUint16(at + CHECKSUM, raised + (raised >= 0xffff ? 1 : 0));
}

/** The inverse of `decrementTtl`. */
export function incrementTtl(view: DataView, at: number): void {
  view.setUint8(at + TTL, view.getUint8(at + TTL) + 1);
  const lowered = view.getUint16(at + CHECKSUM) - 0x0100;
  view.setUint16(at + CHECKSUM, lowered - (lowered < 0 ? 1 : 0));
}

export interface Ipv4 {
  readonly headerLength: number;
  readonly trafficClass: number;
  readonly totalLength: number;
  readonly identification: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** In bytes. */
  readonly fragmentOffset: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly checksum: number;
  readonly checksumRight: boolean;
  readonly source: string;
  readonly destination: string;
}

/** The header as a plain object, null when `check` refuses it. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Ipv4 | null {
  if (check(view, at, end) !== OK) return null;
  const field = fragment(view, at);
  return {
    headerLength: headerLength(view, at),
    trafficClass: trafficClass(view, at),
    totalLength: totalLength(view, at),
    identification: identification(view, at),
    dontFragment: (field & DF) !== 0,
    moreFragments: (field & MF) !== 0,
    fragmentOffset: (field & OFFSET) << 3,
    ttl: ttl(view, at),
    protocol: protocol(view, at),
    checksum: checksum(view, at),
    checksumRight: verifyChecksum(view, at),
    source: addressText(view, at + SOURCE),
    destination: addressText(view, at + DESTINATION),
  };
}

/** Dotted quad of the four bytes at `at`. */
export function addressText(view: DataView, at: number): string {
  return formatAddress(new Uint8Array(view.buffer, view.byteOffset + at, 4));
}

export function text(header: Ipv4): string {
  const { fragmentOffset, moreFragments } = header;
  const flags = header.dontFragment ? ' DF' : '';
  const part = fragmentOffset > 0 || moreFragments ? ` fragment ${fragmentOffset}${moreFragments ? '+' : ''}` : '';
  const wrong = header.checksumRight ? '' : ' bad-checksum';
  return `IPv4 ${header.source} > ${header.destination} protocol ${header.protocol} length ${header.totalLength} ttl ${header.ttl}${flags}${part}${wrong}`;
}
