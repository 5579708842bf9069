/**
 * The packet that an ICMP error quotes. A worker sent it to a client, so its source is the service and its destination the client: turned
 * round it names the flow.
 *
 *     | IP: router → service | ICMP 8 | quote: IP: service → client | service port, client port, 4 bytes | perhaps more
 *                            ^ icmpAt ^ icmpAt + 8                  ^ the 8 bytes that every router quotes (RFC 792)
 *
 * Lengths inside the quote are not believed: it is cut, and routers have been known to change its total length. Extensions behind it (RFC
 * 4884) are not looked at.
 */
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { PROTOCOL_SCTP } from '../wire/sctp.ts';

// Module-local for speed; see src/wire/README.md, "Constants".
const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const SCTP = PROTOCOL_SCTP;
const HEADER4 = ipv4.HEADER_LENGTH;
const HEADER6 = ipv6.HEADER_LENGTH;
const QUOTE4 = icmpv4.QUOTE_AT;
const QUOTE6 = icmpv6.QUOTE_AT;
/** What is quoted at least of the transport (RFC 792), and what a worker's kernel asks for (net/ipv4/icmp.c, icmp_socket_deliver). */
const TRANSPORT_BYTES = 8;
/** ICMPv6 types 1 and 3 may say in byte 4 how many 8-byte words the quote has, at least 128 bytes, before extensions follow it (RFC 4884 §4.4). */
const LEAST_WORDS6 = 16;

/** Kinds of errors that are steered. */
export const ERROR_NONE = 0;
export const ERROR_UNREACHABLE = 1;
export const ERROR_TOO_BIG = 2;
export const ERROR_TIME_EXCEEDED = 3;
export const ERROR_PARAMETER_PROBLEM = 4;
export const ERROR_KINDS = 5;

/** Which kind of error the ICMP message at `at` is; ERROR_NONE for the others, source quench (RFC 6633) and redirect among them. */
export function errorKind4(view: DataView, at: number): number {
  switch (icmpv4.type(view, at)) {
    case icmpv4.TYPE_DESTINATION_UNREACHABLE:
      return icmpv4.code(view, at) === icmpv4.CODE_FRAGMENTATION_NEEDED ? ERROR_TOO_BIG : ERROR_UNREACHABLE;
    case icmpv4.TYPE_TIME_EXCEEDED:
      return ERROR_TIME_EXCEEDED;
    case icmpv4.TYPE_PARAMETER_PROBLEM:
      return ERROR_PARAMETER_PROBLEM;
    default:
      return ERROR_NONE;
  }
}

/** Which kind of error the ICMPv6 message at `at` is. */
export function errorKind6(view: DataView, at: number): number {
  switch (icmpv6.type(view, at)) {
    case icmpv6.TYPE_DESTINATION_UNREACHABLE:
      return ERROR_UNREACHABLE;
    case icmpv6.TYPE_PACKET_TOO_BIG:
      return ERROR_TOO_BIG;
    case icmpv6.TYPE_TIME_EXCEEDED:
      return ERROR_TIME_EXCEEDED;
    case icmpv6.TYPE_PARAMETER_PROBLEM:
      return ERROR_PARAMETER_PROBLEM;
    default:
      return ERROR_NONE;
  }
}

/** `readQuote4`, `readQuote6`: the quote can not be read as far as its ports. */
export const QUOTE_UNREADABLE = -1;
/**
 * The quoted packet is a later fragment and has no ports (bit 30 of the answer). The largest offset is less than 2^20, the protocol stands
 * in bits 20–27.
 */
const LATER = 0x40000000;
const OFFSET_MASK = 0xfffff;
const PROTOCOL_SHIFT = 20;

/**
 * Reads the quote of the ICMP error at `icmpAt`, nothing at or behind `end` (both counted from the start of the view). Returns
 * QUOTE_UNREADABLE, or an answer for `quoteProtocol`, `quoteHasPorts` and `quoteTransport`. The quoted IP header is at `icmpAt` + 8.
 */
export function readQuote4(view: DataView, icmpAt: number, end: number): number {
  const at = icmpAt + QUOTE4;
  if (at + HEADER4 > end || ipv4.version(view, at) !== 4) return QUOTE_UNREADABLE;
  const header = ipv4.headerLength(view, at);
  if (header < HEADER4 || at + header > end) return QUOTE_UNREADABLE;
  const answer = (ipv4.protocol(view, at) << PROTOCOL_SHIFT) | header;
  if (ipv4.isLaterFragment(view, at)) return answer | LATER;
  return at + header + TRANSPORT_BYTES > end ? QUOTE_UNREADABLE : answer;
}

/** The same of an ICMPv6 error, whose quote may have extension headers. */
export function readQuote6(view: DataView, icmpAt: number, end: number): number {
  const at = icmpAt + QUOTE6;
  if (at + HEADER6 > end || ipv6.version(view, at) !== 6) return QUOTE_UNREADABLE;
  const type = icmpv6.type(view, icmpAt);
  const words =
    type === icmpv6.TYPE_DESTINATION_UNREACHABLE || type === icmpv6.TYPE_TIME_EXCEEDED
      ? view.getUint8(icmpAt + icmpv6.REST_AT)
      : 0;
  // A shorter one is no length of RFC 4884, whose quotes are padded; then the byte is unused, as before it.
  const quoteEnd = words >= LEAST_WORDS6 ? Math.min(end, at + (words << 3)) : end;
  const found = ipv6.findTransport6(view, at, quoteEnd);
  if (found < 0) return QUOTE_UNREADABLE;
  const offset = ipv6.transportOffset(found);
  const answer = (ipv6.transportProtocol(found) << PROTOCOL_SHIFT) | offset;
  if (ipv6.isLaterFragment(found)) return answer | LATER;
  return at + offset + TRANSPORT_BYTES > quoteEnd ? QUOTE_UNREADABLE : answer;
}

/** IP protocol number of the quoted packet's transport. `answer`: of `readQuote4` or `readQuote6`, not negative. */
export function quoteProtocol(answer: number): number {
  return (answer >> PROTOCOL_SHIFT) & 0xff;
}

/** False for the quote of a later fragment. */
export function quoteHasPorts(answer: number): boolean {
  return (answer & LATER) === 0;
}

/** True for the protocols whose header begins with source and destination port: TCP, UDP and SCTP. */
export function beginsWithPorts(protocol: number): boolean {
  return protocol === TCP || protocol === UDP || protocol === SCTP;
}

/** Bytes from the quoted IP header to the quoted transport header; its first 8 bytes are there unless it is a later fragment. */
export function quoteTransport(answer: number): number {
  return answer & OFFSET_MASK;
}

/** The word of ports with source and destination exchanged: as a packet of the client's has them. */
export function turnPorts(ports: number): number {
  return (ports << 16) | (ports >>> 16);
}
