/**
 * ICMP for IPv4 (RFC 792; next-hop MTU RFC 1191 §4).
 *
 *     0      1      2          4                             8
 *     | type | code | checksum | rest of header              | echo data, or the quoted packet (IP header + at least 8 bytes)
 *                              | echo: identifier, sequence  |
 *                              | 3/4: unused 2, next-hop MTU |
 */
import { WIRE_OK, WIRE_TRUNCATED } from './check.ts';
import { finish, sum, update16, verifies } from './checksum.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const TYPE = 0;
const CODE = 1;
const CHECKSUM = 2;
const IDENTIFIER = 4;
const SEQUENCE = 6;
const NEXT_HOP_MTU = 6;
const HEADER = 8;
const ECHO_REPLY = 0;
const DESTINATION_UNREACHABLE = 3;
const SOURCE_QUENCH = 4;
const REDIRECT = 5;
const ECHO_REQUEST = 8;
const TIME_EXCEEDED = 11;
const PARAMETER_PROBLEM = 12;

export const HEADER_LENGTH = HEADER;
/** The quoted IP packet starts here, in errors. */
export const QUOTE_AT = HEADER;
export const CHECKSUM_AT = CHECKSUM;
/** Bytes 4–7, whose meaning the type says. */
export const REST_AT = IDENTIFIER;

export const TYPE_ECHO_REPLY = ECHO_REPLY;
export const TYPE_DESTINATION_UNREACHABLE = DESTINATION_UNREACHABLE;
export const TYPE_SOURCE_QUENCH = SOURCE_QUENCH;
export const TYPE_REDIRECT = REDIRECT;
export const TYPE_ECHO_REQUEST = ECHO_REQUEST;
export const TYPE_TIME_EXCEEDED = TIME_EXCEEDED;
export const TYPE_PARAMETER_PROBLEM = PARAMETER_PROBLEM;

/** Codes of destination unreachable. */
export const CODE_NET_UNREACHABLE = 0;
export const CODE_HOST_UNREACHABLE = 1;
export const CODE_PROTOCOL_UNREACHABLE = 2;
export const CODE_PORT_UNREACHABLE = 3;
export const CODE_FRAGMENTATION_NEEDED = 4;
export const CODE_PROHIBITED = 13;
/** Code of time exceeded: TTL ran out on the way (1 is fragment reassembly). */
export const CODE_TTL_EXCEEDED = 0;

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

/** Of fragmentation needed; 0 from a router older than RFC 1191. */
export function nextHopMtu(view: DataView, at: number): number {
  return view.getUint16(at + NEXT_HOP_MTU);
}

/** True for the types that quote a packet: an answer to these must never be an ICMP error (RFC 1122 §3.2.2). */
export function isError(typeByte: number): boolean {
  return (
    typeByte === DESTINATION_UNREACHABLE ||
    typeByte === SOURCE_QUENCH ||
    typeByte === REDIRECT ||
    typeByte === TIME_EXCEEDED ||
    typeByte === PARAMETER_PROBLEM
  );
}

/** True for an echo request that can be answered (code 0). */
export function isEchoRequest(view: DataView, at: number): boolean {
  return view.getUint16(at + TYPE) === ECHO_REQUEST << 8;
}

/**
 * Makes an echo reply of the echo request at `at`, where it lies: type 8 becomes 0, checksum updated (RFC 1624). The caller swaps the addresses. A reply
 * can consist of zeros alone, the one message whose checksum must not be 0x0000; 0xffff is right for it and for all others that it stands for.
 */
export function requestToReply(view: DataView, at: number): void {
  view.setUint8(at + TYPE, ECHO_REPLY);
  const updated = update16(view.getUint16(at + CHECKSUM), ECHO_REQUEST << 8, ECHO_REPLY << 8);
  view.setUint16(at + CHECKSUM, updated === 0 ? 0xffff : updated);
}

/** Writes type, code, four zero bytes; the checksum comes last, when the rest is in place: `fillChecksum`. */
export function writeStart(view: DataView, at: number, typeByte: number, codeByte: number): void {
  view.setInt32(at, (typeByte << 24) | (codeByte << 16));
  view.setInt32(at + IDENTIFIER, 0);
}

/** Computes the checksum over the whole message, `at` to `end` (no pseudo-header), and stores it. */
export function fillChecksum(view: DataView, at: number, end: number): void {
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + CHECKSUM, finish(sum(view, at, end - at, 0)));
}

/** True when the message from `at` to `end` has a right checksum. */
export function verifyChecksum(view: DataView, at: number, end: number): boolean {
  return verifies(sum(view, at, end - at, 0));
}

export interface Icmpv4 {
  readonly type: number;
  readonly code: number;
  readonly checksum: number;
  readonly identifier: number;
  readonly sequence: number;
  /** Where the quoted packet starts, −1 when the message quotes none. */
  readonly quoteAt: number;
}

/** The header as a plain object, null when it is not whole. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Icmpv4 | null {
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

export function text(header: Icmpv4): string {
  if (header.type === ECHO_REQUEST || header.type === ECHO_REPLY) {
    const kind = header.type === ECHO_REQUEST ? 'request' : 'reply';
    return `ICMP echo ${kind} id ${header.identifier} sequence ${header.sequence}`;
  }
  return `ICMP type ${header.type} code ${header.code}`;
}
