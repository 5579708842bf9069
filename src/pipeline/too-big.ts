/**
 * The answer to a packet that is too big for its tunnel: ICMP "fragmentation needed" (type 3 code 4, RFC 792, next-hop MTU RFC 1191
 * §4) for IPv4 with DF, ICMPv6 "packet too big" (type 2, RFC 4443 §3.2) for IPv6. How an error is written, icmp-error.ts says;
 * docs/path-mtu-answers.md, what is answered when.
 */
import type { Batch } from '../base/batch.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { answerError, copyError, errorLength } from './icmp-error.ts';

export { LONGEST_ANSWER } from './icmp-error.ts';

/** Smallest MTU that a link may have (RFC 791 §3.2, RFC 8200 §5), and so the smallest that an answer may name. */
const FLOOR4 = 68;
const FLOOR6 = 1280;

const NEEDED = (icmpv4.TYPE_DESTINATION_UNREACHABLE << 8) | icmpv4.CODE_FRAGMENTATION_NEEDED;
const TOO_BIG = icmpv6.TYPE_PACKET_TOO_BIG << 8;
/** The next-hop MTU is the lower half of the ICMP header's second word (RFC 1191 §4). */
const LARGEST_TOLD4 = 0xffff;

/** The MTU that an answer names: `innerMtu`, raised to what every link of the family can carry. */
export function toldMtu(family: number, innerMtu: number): number {
  return Math.max(innerMtu, family === 4 ? FLOOR4 : FLOOR6);
}

/**
 * Bytes of the answer to the IP packet of `length` bytes at `at`, its IP header included; 0 when it must not be answered, or when the
 * answer could not help because the packet is not larger than the MTU that would be named. The packet has passed `ipv4.check` or `ipv6.check`.
 */
export function tooBigLength(view: DataView, at: number, length: number, family: number, innerMtu: number): number {
  if (length <= toldMtu(family, innerMtu)) return 0;
  if (family === 4 && !ipv4.dontFragment(view, at)) return 0;
  return errorLength(view, at, length, family);
}

/**
 * Turns packet `i`, larger than `innerMtu` (bytes of inner IP packet that its tunnel carries), into the answer that says so, in its own
 * slot: verdict reply, outAt and outLength. Of the columns it reads networkAt, networkLength, family and frameAt. Returns the bytes of
 * the answer without its link header, or 0 when the packet must not be answered: then nothing was changed, and the caller drops it.
 */
export function answerTooBig(batch: Batch, i: number, innerMtu: number): number {
  const family = batch.family[i];
  const length = tooBigLength(batch.arena.view, batch.networkAt[i], batch.networkLength[i], family, innerMtu);
  if (length === 0) return 0;
  const mtu = toldMtu(family, innerMtu);
  return family === 4 ? answerError(batch, i, length, NEEDED, mtu & LARGEST_TOLD4) : answerError(batch, i, length, TOO_BIG, mtu);
}

/**
 * The same answer, written at `to` in another memory, which has room for LONGEST_ANSWER bytes: for a packet that is also forwarded (policy
 * segment-and-tell). The packet, its slot and its verdict stay as they are. Returns the bytes written, link header included, or 0.
 */
export function copyTooBig(batch: Batch, i: number, innerMtu: number, target: DataView, to: number): number {
  const family = batch.family[i];
  const length = tooBigLength(batch.arena.view, batch.networkAt[i], batch.networkLength[i], family, innerMtu);
  if (length === 0) return 0;
  const mtu = toldMtu(family, innerMtu);
  return family === 4
    ? copyError(batch, i, length, NEEDED, mtu & LARGEST_TOLD4, target, to)
    : copyError(batch, i, length, TOO_BIG, mtu, target, to);
}
