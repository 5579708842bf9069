/**
 * An ICMP error of the director's own about a packet, in front of that packet, byte for byte as Linux writes it (net/ipv4/icmp.c
 * __icmp_send, net/ipv6/icmp.c icmp6_send). Which error, too-big.ts and time-exceeded.ts say; the kernel is the judge of both:
 * test/oracle/too-big.test.ts, test/oracle/time-exceeded.test.ts.
 *
 * The packet is its own quote. Headers are written in front of it, in the headroom and over its link header, and its tail is left out:
 *
 *     before   | headroom              | Ethernet, VLAN | IP | TCP / UDP | payload …                      |
 *                                      ^ frameAt        ^ networkAt
 *     after    |  …  | Ethernet, VLAN  | IPv4 20 | ICMP 8 | IP | TCP / UDP | payload … | not sent
 *                    ^ outAt                              ^ networkAt                  ^ outAt + outLength
 *
 * The quote must be the packet as it came to this hop: answer before the TTL is decremented. Its transport checksum is quoted as it lies,
 * partial or finished, and a super-packet is quoted merged, with the length of the whole: Linux does both. A client reads the
 * quote's addresses, ports and sequence number, which are those of the first segment.
 */
import { type Batch, LINK_ETHERNET } from '../base/batch.ts';
import { VERDICT_REPLY } from '../base/verdict.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';

/** Bytes in front of the quote: IP header without options, ICMP header. */
const BEFORE4 = ipv4.HEADER_LENGTH + icmpv4.HEADER_LENGTH;
const BEFORE6 = ipv6.HEADER_LENGTH + icmpv6.HEADER_LENGTH;
/** Longest answer: RFC 1812 §4.3.2.3 for IPv4, the minimum MTU for IPv6 (RFC 4443 §2.4 c). */
const LONGEST4 = 576;
const LONGEST6 = 1280;
/** TTL and hop limit of what the director says itself; Linux's default. */
const ANSWER_TTL = 64;
/** RFC 1812 §4.3.2.5: precedence 6 (internetwork control). Linux: IPTOS_PREC_INTERNETCONTROL. */
const INTERNETWORK_CONTROL = 0xc0;
/** The client's TOS bits that are kept, as RFC 1349 had them and Linux has them still (IPTOS_TOS_MASK): not the last ECN bit. */
const TOS_BITS = 0x1e;
/**
 * ICMP types that may be answered, a bit each: echo, echo reply, and the requests and replies 13 to 18. All others are errors, or
 * unknown and taken for errors (Linux: icmp_pointers[].error).
 */
const ANSWERABLE = 0x7e101;
const LAST_TYPE = 18;

/** Room in another memory that `copyError` needs: Ethernet with two VLAN tags and the longest answer. */
export const LONGEST_ANSWER = ethernet.HEADER_LENGTH + 8 + LONGEST6;

/** One single host: not unspecified, loopback, multicast or broadcast (RFC 1122 §3.2.2). Linux has 0.0.0.0/8 and class E for hosts. */
function isHost4(address: number): boolean {
  const first = address >>> 24;
  return address !== 0 && address !== -1 && first !== 127 && (first & 0xf0) !== 0xe0;
}

/**
 * One single host that routers carry packets of: not unspecified, loopback or multicast (RFC 4443 §2.4 e), nor link-local, which a service
 * address can not be answered to from.
 */
function isHost6(view: DataView, at: number): boolean {
  const first = view.getUint16(at);
  if (first >= 0xff00 || (first & 0xffc0) === 0xfe80) return false;
  const high = view.getInt32(at) | view.getInt32(at + 4) | view.getInt32(at + 8);
  return high !== 0 || view.getInt32(at + 12) >>> 0 > 1;
}

function sameAddress(view: DataView, a: number, b: number): boolean {
  let differs = 0;
  for (let w = 0; w < 16; w += 4) differs |= view.getInt32(a + w) ^ view.getInt32(b + w);
  return differs === 0;
}

function mayAnswer4(view: DataView, at: number, length: number): boolean {
  if (ipv4.isLaterFragment(view, at)) return false;
  const source = ipv4.source(view, at);
  const destination = ipv4.destination(view, at);
  // A source that is the service's own address would be answered to ourselves.
  if (!isHost4(source) || !isHost4(destination) || source === destination) return false;
  if (ipv4.protocol(view, at) !== ipv4.PROTOCOL_ICMP) return true;
  const header = ipv4.headerLength(view, at);
  if (header >= length) return false;
  const type = icmpv4.type(view, at + header);
  return type <= LAST_TYPE && ((ANSWERABLE >>> type) & 1) === 1;
}

function mayAnswer6(view: DataView, at: number, length: number): boolean {
  const sourceAt = at + ipv6.SOURCE_AT;
  const destinationAt = at + ipv6.DESTINATION_AT;
  if (!isHost6(view, sourceAt) || !isHost6(view, destinationAt)) return false;
  if (sameAddress(view, sourceAt, destinationAt)) return false;
  const found = ipv6.findTransport6(view, at, at + length);
  if (found < 0 || ipv6.isLaterFragment(found)) return false;
  if (ipv6.transportProtocol(found) !== ipv6.NEXT_ICMPV6) return true;
  const offset = ipv6.transportOffset(found);
  return offset < length && !icmpv6.isError(icmpv6.type(view, at + offset));
}

/**
 * Bytes of an error about the IP packet of `length` bytes at `at`, its IP header included; 0 when there must be none (RFC 1122 §3.2.2, RFC
 * 4443 §2.4 e). The packet has passed `ipv4.check` or `ipv6.check`.
 */
export function errorLength(view: DataView, at: number, length: number, family: number): number {
  if (family === 4) {
    if (!mayAnswer4(view, at, length)) return 0;
    return length > LONGEST4 - BEFORE4 ? LONGEST4 : BEFORE4 + length;
  }
  if (!mayAnswer6(view, at, length)) return 0;
  return length > LONGEST6 - BEFORE6 ? LONGEST6 : BEFORE6 + length;
}

/**
 * Writes IPv4 and ICMP header at `to`, for the quote that lies behind them. A header without DF needs an identification (RFC 6864
 * §4.1): the ICMP checksum serves, which differs with the quote and costs no state.
 */
function writeHeaders4(
  view: DataView,
  at: number,
  target: DataView,
  to: number,
  length: number,
  typeAndCode: number,
  rest: number,
): void {
  const icmpAt = to + ipv4.HEADER_LENGTH;
  icmpv4.writeStart(target, icmpAt, typeAndCode >> 8, typeAndCode & 0xff);
  target.setInt32(icmpAt + icmpv4.REST_AT, rest);
  icmpv4.fillChecksum(target, icmpAt, to + length);
  const identifier = icmpv4.checksum(target, icmpAt);
  ipv4.write(
    target,
    to,
    (ipv4.trafficClass(view, at) & TOS_BITS) | INTERNETWORK_CONTROL,
    length,
    identifier === 0 ? 1 : identifier,
    0,
    ANSWER_TTL,
    ipv4.PROTOCOL_ICMP,
    ipv4.destination(view, at),
    ipv4.source(view, at),
  );
}

/** Writes IPv6 and ICMPv6 header at `to`, for the quote that lies behind them. Traffic class and flow label are 0. */
function writeHeaders6(
  view: DataView,
  at: number,
  target: DataView,
  to: number,
  length: number,
  typeAndCode: number,
  rest: number,
): void {
  const icmpAt = to + ipv6.HEADER_LENGTH;
  ipv6.writeStart(target, to, 0, 0, length - ipv6.HEADER_LENGTH, ipv6.NEXT_ICMPV6, ANSWER_TTL);
  ipv6.copyAddress(target, to + ipv6.SOURCE_AT, view, at + ipv6.DESTINATION_AT);
  ipv6.copyAddress(target, to + ipv6.DESTINATION_AT, view, at + ipv6.SOURCE_AT);
  icmpv6.writeStart(target, icmpAt, typeAndCode >> 8, typeAndCode & 0xff);
  target.setInt32(icmpAt + icmpv6.REST_AT, rest);
  icmpv6.fillChecksum(target, to + ipv6.SOURCE_AT, icmpAt, to + length);
}

/** Copies the link header (an even number of bytes) and turns it around: tags and EtherType stay, the addresses change places. */
function turnLink(view: DataView, from: number, target: DataView, to: number, length: number): void {
  const high = ethernet.destinationHigh(view, from);
  const low = ethernet.destinationLow(view, from);
  for (let k = 0; k < length; k += 2) target.setUint16(to + k, view.getUint16(from + k));
  ethernet.turnAround(target, to, high, low);
}

/**
 * Bytes of link header in front of packet `i`; −1 when the frame was not sent to this host alone, so that no answer is allowed, or when its
 * link header is gone.
 */
function linkLength(batch: Batch, i: number): number {
  if (batch.ingress.link !== LINK_ETHERNET) return 0;
  if (batch.linkHeadersLost) return -1;
  const frameAt = batch.frameAt[i];
  return ethernet.isGroup(batch.arena.view, frameAt) ? -1 : batch.networkAt[i] - frameAt;
}

/**
 * Turns packet `i` into an error about itself, of `length` bytes (`errorLength`, not 0), in its own slot: verdict reply, outAt and outLength.
 * `typeAndCode`: type × 256 + code. `rest`: bytes 4–7 of the ICMP header, big-endian as int32. Of the columns it reads networkAt, family and
 * frameAt. Returns `length`, or 0 when the frame must not be answered: then nothing was changed.
 */
export function answerError(batch: Batch, i: number, length: number, typeAndCode: number, rest: number): number {
  const view = batch.arena.view;
  const at = batch.networkAt[i];
  const family = batch.family[i];
  const link = linkLength(batch, i);
  if (link < 0) return 0;
  const to = at - (family === 4 ? BEFORE4 : BEFORE6);
  const outAt = to - link;
  if (outAt < batch.slotAt[i]) return 0;
  // The link header first: the new IP header is written over where it lies. The two places are further apart than it is long.
  if (link > 0) turnLink(view, batch.frameAt[i], view, outAt, link);
  if (family === 4) writeHeaders4(view, at, view, to, length, typeAndCode, rest);
  else writeHeaders6(view, at, view, to, length, typeAndCode, rest);
  batch.verdict[i] = VERDICT_REPLY;
  batch.outAt[i] = outAt;
  batch.outLength[i] = link + length;
  return length;
}

/**
 * The same error, written at `to` in another memory, which has room for LONGEST_ANSWER bytes. The packet, its slot and its verdict stay as
 * they are. Returns the bytes written, link header included, or 0.
 */
export function copyError(
  batch: Batch,
  i: number,
  length: number,
  typeAndCode: number,
  rest: number,
  target: DataView,
  to: number,
): number {
  const view = batch.arena.view;
  const at = batch.networkAt[i];
  const family = batch.family[i];
  const link = linkLength(batch, i);
  if (link < 0) return 0;
  if (link > 0) turnLink(view, batch.frameAt[i], target, to, link);
  const headersAt = to + link;
  const quoteAt = headersAt + (family === 4 ? BEFORE4 : BEFORE6);
  const quoteLength = headersAt + length - quoteAt;
  let k = 0;
  // Native order both ways: the bytes arrive as they lie.
  for (; k <= quoteLength - 4; k += 4) target.setInt32(quoteAt + k, view.getInt32(at + k, true), true);
  for (; k < quoteLength; k++) target.setUint8(quoteAt + k, view.getUint8(at + k));
  if (family === 4) writeHeaders4(view, at, target, headersAt, length, typeAndCode, rest);
  else writeHeaders6(view, at, target, headersAt, length, typeAndCode, rest);
  return link + length;
}
