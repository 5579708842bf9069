/**
 * What the kernel copies for the answer socket: packets to our reserved ports from a service address, echo replies with a reserved identifier, and ICMP
 * errors that quote a packet from a reserved port. Everything else that the host receives is refused after a few instructions, before any copy. It is only
 * a sieve: the probe decides (health/tunnel/).
 *
 *     cooked packet sockets see the packet from its IP header on
 */
import {
  type Instruction,
  jumpAnyBit,
  jumpAtLeast,
  jumpEqual,
  jumpGreater,
  KEEP_ALL,
  keep,
  loadByte,
  loadByteIndexed,
  loadHalf,
  loadHalfIndexed,
  loadHeaderLength,
  loadWord,
} from '../raw-socket/filter.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { PortRange } from './port-guard.ts';

type Program = readonly Instruction[];

/** Jumps reach 255 instructions; more service addresses than this are not sieved by. */
const MAX_ADDRESSES = 200;
const ACCEPT: Program = [keep(KEEP_ALL)];
const DROP: Program = [keep(0)];

/** Keeps when A is in the range, else drops. */
function keepPort({ base, count }: PortRange, then: Program = ACCEPT): Program {
  return [jumpAtLeast(base, 1, 0), ...DROP, jumpGreater(base + count - 1, 0, 1), ...DROP, ...then];
}

/** Runs `body`, which ends the program, when A equals `k`; else goes on behind it. */
function when(k: number, body: Program): Program {
  return [jumpEqual(k, 0, body.length), ...body];
}

/** Keeps when the word at `at` is one of `words`, else drops; more words than jumps can reach are all kept. */
function keepWords(at: number, words: readonly number[]): Program {
  if (words.length > MAX_ADDRESSES) return ACCEPT;
  return [loadWord(at), ...words.map((word, i) => jumpEqual(word, words.length - i, 0)), ...DROP, ...ACCEPT];
}

/** The last 32 bits of each address, once. */
function lastWords(addresses: readonly Uint8Array[]): number[] {
  return [...new Set(addresses.map((bytes) => new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 4, 4).getUint32(0)))];
}

/** For IPv4: `addresses` of services, 4 bytes each. */
export function answerFilter4(ports: PortRange, addresses: readonly Uint8Array[]): Program {
  const ported = [loadHalfIndexed(2), ...keepPort(ports, keepWords(ipv4.SOURCE_AT, lastWords(addresses)))];
  // The quoted packet is ours: its IPv4 header has no options.
  const quoted = [loadHalfIndexed(icmpv4.QUOTE_AT + ipv4.HEADER_LENGTH), ...keepPort(ports)];
  const quotedEcho = [loadHalfIndexed(icmpv4.QUOTE_AT + ipv4.HEADER_LENGTH + icmpv4.REST_AT), ...keepPort(ports)];
  const errors = [loadByteIndexed(icmpv4.QUOTE_AT + ipv4.PROTOCOL_AT), ...when(ipv4.PROTOCOL_ICMP, quotedEcho), ...quoted];
  const echo = [loadHalfIndexed(icmpv4.REST_AT), ...keepPort(ports, keepWords(ipv4.SOURCE_AT, lastWords(addresses)))];
  const icmp = [
    loadByteIndexed(0),
    ...when(icmpv4.TYPE_ECHO_REPLY, echo),
    jumpEqual(icmpv4.TYPE_DESTINATION_UNREACHABLE, 2, 0),
    jumpEqual(icmpv4.TYPE_TIME_EXCEEDED, 1, 0),
    ...DROP,
    ...errors,
  ];
  return [
    loadHalf(ipv4.FRAGMENT_AT),
    jumpAnyBit(ipv4.FRAGMENT_OFFSET, 0, 1),
    ...DROP,
    loadHeaderLength(0),
    loadByte(ipv4.PROTOCOL_AT),
    jumpEqual(ipv4.PROTOCOL_TCP, 1, 0),
    jumpEqual(ipv4.PROTOCOL_UDP, 0, ported.length),
    ...ported,
    ...when(ipv4.PROTOCOL_ICMP, icmp),
    ...DROP,
  ];
}

/** For IPv6: `addresses` of services, 16 bytes each. Answers with extension headers are not ours. */
export function answerFilter6(ports: PortRange, addresses: readonly Uint8Array[]): Program {
  const at = ipv6.HEADER_LENGTH;
  const words = keepWords(ipv6.SOURCE_AT + 12, lastWords(addresses));
  const ported = [loadHalf(at + 2), ...keepPort(ports, words)];
  const quote = at + icmpv6.QUOTE_AT;
  const errors = [
    loadByte(quote + ipv6.NEXT_HEADER_AT),
    ...when(ipv6.NEXT_ICMPV6, [loadHalf(quote + ipv6.HEADER_LENGTH + icmpv6.REST_AT), ...keepPort(ports)]),
    loadHalf(quote + ipv6.HEADER_LENGTH),
    ...keepPort(ports),
  ];
  const icmp = [
    loadByte(at),
    ...when(icmpv6.TYPE_ECHO_REPLY, [loadHalf(at + icmpv6.REST_AT), ...keepPort(ports, words)]),
    jumpEqual(icmpv6.TYPE_DESTINATION_UNREACHABLE, 2, 0),
    jumpEqual(icmpv6.TYPE_TIME_EXCEEDED, 1, 0),
    ...DROP,
    ...errors,
  ];
  return [
    loadByte(ipv6.NEXT_HEADER_AT),
    jumpEqual(ipv4.PROTOCOL_TCP, 1, 0),
    jumpEqual(ipv4.PROTOCOL_UDP, 0, ported.length),
    ...ported,
    ...when(ipv6.NEXT_ICMPV6, icmp),
    ...DROP,
  ];
}
