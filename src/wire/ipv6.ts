/**
 * IPv6 header and the walk over its extension headers (RFC 8200; AH RFC 4302, mobility RFC 6275, flow label RFC 6437).
 *
 *     0                        4                6             7           8             24                 40
 *     | ver · class · label 4  | payload length | next header | hop limit | source (16) | destination (16) | extensions …
 */
import { formatAddress } from '../base/address.ts';
import { WIRE_MALFORMED, WIRE_OK, WIRE_TRUNCATED } from './check.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const MALFORMED = WIRE_MALFORMED;
const VERSION = 0;
const PAYLOAD_LENGTH = 4;
const NEXT_HEADER = 6;
const HOP_LIMIT = 7;
const SOURCE = 8;
const DESTINATION = 24;
const HEADER = 40;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION_OPTIONS = 60;
const MOBILITY = 135;
const HIP = 139;
const SHIM6 = 140;
const MAX_HEADERS = 8;
const NOT_FOLLOWABLE = -1;
const ENDS_EARLY = -2;

export const HEADER_LENGTH = HEADER;
export const PAYLOAD_LENGTH_AT = PAYLOAD_LENGTH;
export const NEXT_HEADER_AT = NEXT_HEADER;
export const HOP_LIMIT_AT = HOP_LIMIT;
/** Where source and destination address lie, one behind the other: what `pseudoSum6` takes. */
export const SOURCE_AT = SOURCE;
export const DESTINATION_AT = DESTINATION;

export const NEXT_HOP_BY_HOP = HOP_BY_HOP;
export const NEXT_ROUTING = ROUTING;
export const NEXT_FRAGMENT = FRAGMENT;
export const NEXT_ESP = 50;
export const NEXT_AUTHENTICATION = AUTHENTICATION;
export const NEXT_ICMPV6 = 58;
export const NEXT_NONE = 59;
export const NEXT_DESTINATION_OPTIONS = DESTINATION_OPTIONS;
export const NEXT_MOBILITY = MOBILITY;
export const NEXT_HIP = HIP;
export const NEXT_SHIM6 = SHIM6;

/**
 * Extension headers followed before giving up. RFC 8200 §4.1 names seven kinds, destination options twice; a longer chain is an
 * attack on the walker, not a packet that a service wants.
 */
export const MAX_EXTENSION_HEADERS = MAX_HEADERS;

/** `findTransport6`: the chain is too long, a hop-by-hop header stands elsewhere than first, or there are two fragment headers (RFC 8200 §4.1). */
export const TRANSPORT_NOT_FOLLOWABLE = NOT_FOLLOWABLE;
/** `findTransport6`: an extension header ends behind the packet. */
export const TRANSPORT_TRUNCATED = ENDS_EARLY;

/** WIRE_OK when version is 6 and the payload length ends at or before `end`. */
export function check(view: DataView, at: number, end: number): number {
  const length = end - at;
  if (length < HEADER) return TRUNCATED;
  if (view.getUint8(at + VERSION) >> 4 !== 6) return MALFORMED;
  return HEADER + view.getUint16(at + PAYLOAD_LENGTH) > length ? TRUNCATED : OK;
}

export function version(view: DataView, at: number): number {
  return view.getUint8(at + VERSION) >> 4;
}

/** DSCP and ECN, 0–255. */
export function trafficClass(view: DataView, at: number): number {
  return (view.getUint16(at) >> 4) & 0xff;
}

/** 20 bits. */
export function flowLabel(view: DataView, at: number): number {
  return view.getInt32(at) & 0xfffff;
}

/** Bytes behind the 40-byte header, extension headers included. */
export function payloadLength(view: DataView, at: number): number {
  return view.getUint16(at + PAYLOAD_LENGTH);
}

export function nextHeader(view: DataView, at: number): number {
  return view.getUint8(at + NEXT_HEADER);
}

export function hopLimit(view: DataView, at: number): number {
  return view.getUint8(at + HOP_LIMIT);
}

/**
 * Walks from the header at `at` to the transport header, reading nothing at or behind `end`. Returns TRANSPORT_NOT_FOLLOWABLE or
 * TRANSPORT_TRUNCATED (both negative), or one packed int32, so that nothing is allocated:
 *
 *     bit  25        24        23 … 16    15 … 0
 *          | later   | fragment | protocol | offset of the transport header from `at`
 *
 * Take it apart with `transportOffset`, `transportProtocol`, `isFragment`, `isLaterFragment`. The largest offset, 40 bytes and eight headers of
 * 2,048, fits 16 bits. A later fragment has no transport header: its offset is where its data starts. An atomic fragment (RFC 6946: offset 0,
 * no more) is a whole packet and not marked. ESP and "no next header" end the walk as protocols of their own.
 */
export function findTransport6(view: DataView, at: number, end: number): number {
  let next = view.getUint8(at + NEXT_HEADER);
  let here = at + HEADER;
  let fragmentBits = 0;
  let hasFragmentHeader = false;
  for (let headers = 0; isExtension(next); headers++) {
    if (headers === MAX_HEADERS) return NOT_FOLLOWABLE;
    if (next === HOP_BY_HOP && headers > 0) return NOT_FOLLOWABLE;
    // Behind an atomic one a second would say other bytes and another datagram than who reads the first believes.
    if (next === FRAGMENT && hasFragmentHeader) return NOT_FOLLOWABLE;
    // Every extension header has at least 8 bytes.
    if (here + 8 > end) return ENDS_EARLY;
    const kind = next;
    next = view.getUint8(here);
    if (kind === FRAGMENT) {
      const field = view.getUint16(here + 2);
      here += 8;
      hasFragmentHeader = true;
      if ((field & 0xfff9) !== 0) fragmentBits |= 0x1000000;
      if ((field & 0xfff8) !== 0) return pack(here - at, next, 0x3000000);
    } else {
      // AH counts 4-byte words less 2, all others 8-byte words less 1 (RFC 4302 §2.2).
      const words = view.getUint8(here + 1);
      here += kind === AUTHENTICATION ? (words + 2) << 2 : (words + 1) << 3;
    }
    if (here > end) return ENDS_EARLY;
  }
  return pack(here - at, next, fragmentBits);
}

/**
 * Bytes from the IPv6 header at `at` to its fragment header, in a packet of which `findTransport6` said that it is a fragment; its identification
 * is the word 4 bytes further, its payload begins 8 bytes further. −1 when there is none before `end`.
 */
export function fragmentHeaderOffset(view: DataView, at: number, end: number): number {
  let next = view.getUint8(at + NEXT_HEADER);
  let here = at + HEADER;
  while (isExtension(next) && here + 8 <= end) {
    if (next === FRAGMENT) return here - at;
    const words = view.getUint8(here + 1);
    const length = next === AUTHENTICATION ? (words + 2) << 2 : (words + 1) << 3;
    next = view.getUint8(here);
    here += length;
  }
  return -1;
}

/** Bytes from the header at `at` to its authentication header, −1 without one; `findTransport6` has found the chain to be in order. */
export function findAuthentication6(view: DataView, at: number, end: number): number {
  let next = view.getUint8(at + NEXT_HEADER);
  let here = at + HEADER;
  for (let headers = 0; isExtension(next) && headers <= MAX_HEADERS && here + 8 <= end; headers++) {
    if (next === AUTHENTICATION) return here - at;
    const isFragmentHeader = next === FRAGMENT;
    next = view.getUint8(here);
    here += isFragmentHeader ? 8 : (view.getUint8(here + 1) + 1) << 3;
  }
  return -1;
}

function pack(offset: number, protocol: number, bits: number): number {
  return bits | (protocol << 16) | offset;
}

/** True for the headers that `findTransport6` steps over. */
export function isExtension(next: number): boolean {
  return (
    next === HOP_BY_HOP ||
    next === ROUTING ||
    next === FRAGMENT ||
    next === AUTHENTICATION ||
    next === DESTINATION_OPTIONS ||
    next === MOBILITY ||
    next === HIP ||
    next === SHIM6
  );
}

/** Bytes from the IPv6 header to the transport header. `found`: a non-negative answer of `findTransport6`. */
export function transportOffset(found: number): number {
  return found & 0xffff;
}

/** Protocol number of the transport. */
export function transportProtocol(found: number): number {
  return (found >> 16) & 0xff;
}

/** True for every fragment, the first included. */
export function isFragment(found: number): boolean {
  return (found & 0x1000000) !== 0;
}

/** True for a fragment without the transport header. */
export function isLaterFragment(found: number): boolean {
  return (found & 0x2000000) !== 0;
}

export function setTrafficClass(view: DataView, at: number, value: number): void {
  view.setUint16(at, (view.getUint16(at) & 0xf00f) | (value << 4));
}

export function setFlowLabel(view: DataView, at: number, value: number): void {
  view.setInt32(at, (view.getInt32(at) & ~0xfffff) | (value & 0xfffff));
}

export function setPayloadLength(view: DataView, at: number, value: number): void {
  view.setUint16(at + PAYLOAD_LENGTH, value);
}

export function setNextHeader(view: DataView, at: number, value: number): void {
  view.setUint8(at + NEXT_HEADER, value);
}

export function setHopLimit(view: DataView, at: number, value: number): void {
  view.setUint8(at + HOP_LIMIT, value);
}

/** Hop limit − 1. It must be at least 1. IPv6 has no header checksum and the pseudo-header leaves the hop limit out. */
export function decrementHopLimit(view: DataView, at: number): void {
  view.setUint8(at + HOP_LIMIT, view.getUint8(at + HOP_LIMIT) - 1);
}

/** The inverse of `decrementHopLimit`. */
export function incrementHopLimit(view: DataView, at: number): void {
  view.setUint8(at + HOP_LIMIT, view.getUint8(at + HOP_LIMIT) + 1);
}

/** Writes the first eight bytes: everything but the addresses. */
export function writeStart(
  view: DataView,
  at: number,
  trafficClassByte: number,
  label: number,
  payload: number,
  next: number,
  limit: number,
): void {
  view.setInt32(at, 0x60000000 | (trafficClassByte << 20) | (label & 0xfffff));
  view.setUint16(at + PAYLOAD_LENGTH, payload);
  view.setUint16(at + NEXT_HEADER, (next << 8) | limit);
}

/** Copies a 16-byte address from `from` (in `source`) to `to` (in `view`), four 32-bit moves. */
export function copyAddress(view: DataView, to: number, source: DataView, from: number): void {
  view.setInt32(to, source.getInt32(from));
  view.setInt32(to + 4, source.getInt32(from + 4));
  view.setInt32(to + 8, source.getInt32(from + 8));
  view.setInt32(to + 12, source.getInt32(from + 12));
}

export interface Ipv6 {
  readonly trafficClass: number;
  readonly flowLabel: number;
  readonly payloadLength: number;
  readonly nextHeader: number;
  readonly hopLimit: number;
  readonly source: string;
  readonly destination: string;
  /** Where the transport header lies, or null when it can not be found. */
  readonly transport: {
    readonly offset: number;
    readonly protocol: number;
    readonly fragment: boolean;
    readonly laterFragment: boolean;
  } | null;
}

/** The header as a plain object, null when `check` refuses it. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Ipv6 | null {
  if (check(view, at, end) !== OK) return null;
  const found = findTransport6(view, at, at + HEADER + payloadLength(view, at));
  return {
    trafficClass: trafficClass(view, at),
    flowLabel: flowLabel(view, at),
    payloadLength: payloadLength(view, at),
    nextHeader: nextHeader(view, at),
    hopLimit: hopLimit(view, at),
    source: addressText(view, at + SOURCE),
    destination: addressText(view, at + DESTINATION),
    transport:
      found < 0
        ? null
        : {
            offset: transportOffset(found),
            protocol: transportProtocol(found),
            fragment: isFragment(found),
            laterFragment: isLaterFragment(found),
          },
  };
}

/** RFC 5952 text of the 16 bytes at `at`. */
export function addressText(view: DataView, at: number): string {
  return formatAddress(new Uint8Array(view.buffer, view.byteOffset + at, 16));
}

export function text(header: Ipv6): string {
  const protocol = header.transport === null ? 'unknown' : `${header.transport.protocol}`;
  const part = header.transport?.fragment === true ? ' fragment' : '';
  return `IPv6 ${header.source} > ${header.destination} protocol ${protocol} payload ${header.payloadLength} hop-limit ${header.hopLimit}${part}`;
}
