/**
 * ICMPv6 (RFC 4443). Its checksum covers the IPv6 pseudo-header.
 *
 *     0      1      2          4                            8
 *     | type | code | checksum | echo: identifier, sequence | echo data, or as much of the quoted packet as fits 1,280 bytes
 *                              | packet too big: MTU        |
 */
import { WIRE_OK, WIRE_TRUNCATED } from './check.ts';
import { finish, pseudoSum6, sum, update16, verifies } from './checksum.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const TYPE = 0;
const CODE = 1;
const CHECKSUM = 2;
const IDENTIFIER = 4;
const SEQUENCE = 6;
const MTU = 4;
const HEADER = 8;
const PROTOCOL = 58;
const ECHO_REQUEST = 128;
const ECHO_REPLY = 129;
/** Types below are errors (RFC 4443 §2.1). */
const FIRST_INFORMATIONAL = 128;

export const HEADER_LENGTH = HEADER;
/** The quoted IPv6 packet starts here, in errors. */
export const QUOTE_AT = HEADER;
export const CHECKSUM_AT = CHECKSUM;
/** Bytes 4–7, whose meaning the type says. */
export const REST_AT = IDENTIFIER;

export const TYPE_DESTINATION_UNREACHABLE = 1;
export const TYPE_PACKET_TOO_BIG = 2;
export const TYPE_TIME_EXCEEDED = 3;
export const TYPE_PARAMETER_PROBLEM = 4;
export const TYPE_ECHO_REQUEST = ECHO_REQUEST;
export const TYPE_ECHO_REPLY = ECHO_REPLY;
/** RFC 4861; see ndp.ts. */
export const TYPE_ROUTER_SOLICITATION = 133;
export const TYPE_ROUTER_ADVERTISEMENT = 134;
export const TYPE_NEIGHBOUR_SOLICITATION = 135;
export const TYPE_NEIGHBOUR_ADVERTISEMENT = 136;
export const TYPE_REDIRECT = 137;

/** Codes of destination unreachable. */
export const CODE_NO_ROUTE = 0;
export const CODE_PROHIBITED = 1;
export const CODE_ADDRESS_UNREACHABLE = 3;
export const CODE_PORT_UNREACHABLE = 4;
/** Code of time exceeded: the hop limit ran out on the way. */
export const CODE_HOP_LIMIT_EXCEEDED = 0;

/** WIRE_OK when the 8 bytes lie before `end`. */
export function check(_view: DataView, at: number, end: number): number {
  return end - at < HEADER ? TRUNCATED : OK;
}

export function type(view: DataView, at: number): number {
  return view.getUint8(at + TYPE);
}

export function code(view: DataView, at: number): number {
  return view.getUint8(at + CODE);
}

export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

/** Of echo request and reply. */
export function identifier(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFIER);
}

export function sequence(view: DataView, at: number): number {
  return view.getUint16(at + SEQUENCE);
}

/** Of packet too big, as int32: a nonsense value above 2^31 is negative. */
export function mtu(view: DataView, at: number): number {
  return view.getInt32(at + MTU);
}

/** True for the types that quote a packet: an answer to these must never be an ICMP error (RFC 4443 §2.4 e). */
export function isError(typeByte: number): boolean {
  return typeByte < FIRST_INFORMATIONAL;
}

/** True for an echo request that can be answered (code 0). */
export function isEchoRequest(view: DataView, at: number): boolean {
  return view.getUint16(at + TYPE) === ECHO_REQUEST << 8;
}

/**
 * Makes an echo reply of the echo request at `at`, where it lies: type 128 becomes 129, checksum updated (RFC 1624). The caller swaps the
 * addresses, which leaves the pseudo-header's sum as it is; a reply from another address (the request came to a multicast group) needs `fillChecksum`.
 */
export function requestToReply(view: DataView, at: number): void {
  view.setUint8(at + TYPE, ECHO_REPLY);
  view.setUint16(at + CHECKSUM, update16(view.getUint16(at + CHECKSUM), ECHO_REQUEST << 8, ECHO_REPLY << 8));
}

/** Writes type, code, four zero bytes; the checksum comes last, when the rest is in place: `fillChecksum`. */
export function writeStart(view: DataView, at: number, typeByte: number, codeByte: number): void {
  view.setInt32(at, (typeByte << 24) | (codeByte << 16));
  view.setInt32(at + IDENTIFIER, 0);
}

/** Computes the checksum over the pseudo-header and the message `at` to `end`, and stores it. `addressesAt`: IPv6 header + 8. */
export function fillChecksum(view: DataView, addressesAt: number, at: number, end: number): void {
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + CHECKSUM, finish(sum(view, at, end - at, pseudoSum6(view, addressesAt, PROTOCOL, end - at))));
}

/** True when the message from `at` to `end` has a right checksum. */
export function verifyChecksum(view: DataView, addressesAt: number, at: number, end: number): boolean {
  return verifies(sum(view, at, end - at, pseudoSum6(view, addressesAt, PROTOCOL, end - at)));
}

export interface Icmpv6 {
  readonly type: number;
  readonly code: number;
  readonly checksum: number;
  readonly identifier: number;
  readonly sequence: number;
  /** Where the quoted packet starts, −1 when the message quotes none. */
  readonly quoteAt: number;
}

/** The header as a plain object, null when it is not whole. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Icmpv6 | null {
  if (check(view, at, end) !== OK) return null;
  return {
    type: type(view, at),
    code: code(view, at),
    checksum: checksum(view, at),
    identifier: identifier(view, at),
    sequence: sequence(view, at),
    quoteAt: isError(type(view, at)) ? at + HEADER : -1,
  };
}

export function text(header: Icmpv6): string {
  if (header.type === ECHO_REQUEST || header.type === ECHO_REPLY) {
    const kind = header.type === ECHO_REQUEST ? 'request' : 'reply';
    return `ICMPv6 echo ${kind} id ${header.identifier} sequence ${header.sequence}`;
  }
  return `ICMPv6 type ${header.type} code ${header.code}`;
}
