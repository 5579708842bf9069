/**
 * What segmentation of TCP and of UDP share: is the packet what its headers say, and what of its IP header changes per segment.
 */
import * as checksum from '../wire/checksum.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as train from './train.ts';

// Local names: an imported constant is loaded from its module at every use.
const IPV4_HEADER = ipv4.HEADER_LENGTH;
const IPV4_SOURCE_AT = ipv4.SOURCE_AT;
const IPV6_HEADER = ipv6.HEADER_LENGTH;
const IPV6_SOURCE_AT = ipv6.SOURCE_AT;
const HOP_BY_HOP = ipv6.NEXT_HOP_BY_HOP;
const ROUTING = ipv6.NEXT_ROUTING;
const DESTINATION_OPTIONS = ipv6.NEXT_DESTINATION_OPTIONS;
const FRAGMENT = ipv6.NEXT_FRAGMENT;
const REFUSED_LENGTH = train.REFUSED_LENGTH;
const REFUSED_FRAGMENT = train.REFUSED_FRAGMENT;
const REFUSED_EXTENSION = train.REFUSED_EXTENSION;

/** 0 when the packet's own lengths and protocol lead exactly to `transportAt` and `end`; else a refusal. */
export function checkNetwork(view: DataView, networkAt: number, transportAt: number, end: number, protocol: number): number {
  const header = transportAt - networkAt;
  if (networkAt < 0 || header < IPV4_HEADER || transportAt > end || end > view.byteLength) return REFUSED_LENGTH;
  if (ipv4.version(view, networkAt) === 4) {
    if (ipv4.headerLength(view, networkAt) !== header || ipv4.totalLength(view, networkAt) !== end - networkAt)
      return REFUSED_LENGTH;
    if (ipv4.protocol(view, networkAt) !== protocol) return REFUSED_LENGTH;
    return ipv4.isFragment(view, networkAt) ? REFUSED_FRAGMENT : 0;
  }
  if (header < IPV6_HEADER || ipv6.version(view, networkAt) !== 6) return REFUSED_LENGTH;
  if (IPV6_HEADER + ipv6.payloadLength(view, networkAt) !== end - networkAt) return REFUSED_LENGTH;
  let next = ipv6.nextHeader(view, networkAt);
  let here = networkAt + IPV6_HEADER;
  while (here < transportAt) {
    // The kernel repeats these three and knows no other (INET6_PROTO_GSO_EXTHDR); hop-by-hop only stands first (RFC 8200 §4.1).
    if (next === protocol) return REFUSED_LENGTH;
    if (next === FRAGMENT) return REFUSED_FRAGMENT;
    if (next !== HOP_BY_HOP && next !== ROUTING && next !== DESTINATION_OPTIONS) return REFUSED_EXTENSION;
    if (next === HOP_BY_HOP && here !== networkAt + IPV6_HEADER) return REFUSED_EXTENSION;
    if (here + 8 > transportAt) return REFUSED_LENGTH;
    next = view.getUint8(here);
    here += (view.getUint8(here + 1) + 1) << 3;
  }
  return here === transportAt && next === protocol ? 0 : REFUSED_LENGTH;
}

/** True when `count` records fit the area and `headerLength` bytes behind `outerLength` fit a record. */
export function fits(
  area: DataView,
  headersAt: number,
  stride: number,
  outerLength: number,
  headerLength: number,
  count: number,
): boolean {
  return outerLength + headerLength <= stride && headersAt >= 0 && headersAt + count * stride <= area.byteLength;
}

/** Headers are multiples of four bytes. Native order both ways: the bytes arrive as they lie. */
export function copyHeaders(from: DataView, fromAt: number, to: DataView, toAt: number, length: number): void {
  for (let at = 0; at < length; at += 4) to.setInt32(toAt + at, from.getInt32(fromAt + at, true), true);
}

/** Complement of a 16-bit word: adding it to a sum takes the word out (RFC 1624). */
export function without(word: number): number {
  return ~word & 0xffff;
}

/** Partial of the IPv4 header without total length, identification and checksum; 0 for IPv6. */
export function fixedNetworkSum(view: DataView, networkAt: number, length: number, isIpv4: boolean): number {
  if (!isIpv4) return 0;
  const changing =
    without(ipv4.totalLength(view, networkAt)) +
    without(ipv4.identification(view, networkAt)) +
    without(ipv4.checksum(view, networkAt));
  return checksum.sum(view, networkAt, length, changing);
}

/** Writes segment `k`'s own length, identification and header checksum behind `at`; `length`: the whole segment's bytes. */
export function finishNetwork(
  area: DataView,
  at: number,
  length: number,
  identifier: number,
  fixed: number,
  isIpv4: boolean,
): void {
  if (isIpv4) {
    ipv4.setTotalLength(area, at, length);
    ipv4.setIdentification(area, at, identifier);
    ipv4.setChecksum(area, at, checksum.finish(fixed + length + identifier));
  } else {
    ipv6.setPayloadLength(area, at, length - IPV6_HEADER);
  }
}

/** Partial of the pseudo-header's addresses and protocol, without its length. */
export function pseudoSum(view: DataView, networkAt: number, protocol: number, isIpv4: boolean): number {
  return isIpv4
    ? checksum.pseudoSum4(view, networkAt + IPV4_SOURCE_AT, protocol, 0)
    : checksum.pseudoSum6(view, networkAt + IPV6_SOURCE_AT, protocol, 0);
}
