/**
 * IPv6 fragmentation at the source (RFC 8200 §4.5), as Linux does it for what it sends itself (net/ipv6/ip6_output.c ip6_fragment): for
 * tunnel packets, whose source we are. Nobody but the source may fragment IPv6, so clients' packets are none of its business.
 *
 *     before:   | IPv6 40 | UDP, GUE, inner packet …
 *     fragment: | IPv6 40 | next 0 offset·M | identification | part of it |         an extension header of 8 bytes more
 */
import * as ipv6 from '../wire/ipv6.ts';
import { planFragments } from './fragment4.ts';
import { REFUSED_ROOM } from './train.ts';

const HEADER = ipv6.HEADER_LENGTH;
export const FRAGMENT_HEADER = 8;
/** IPv6 header and fragment header. */
export const FRAGMENT_HEADERS6 = HEADER + FRAGMENT_HEADER;
/** The M flag; the offset stands in the 13 bits above it and two reserved ones, so in bytes it needs no shift. */
export const MORE = 1;

/** Payload bytes of every fragment but the last: a multiple of 8. 0 or less when `mtu` has no room for any. */
export function fragmentPayload6(mtu: number): number {
  return (mtu - FRAGMENT_HEADERS6) & ~7;
}

/**
 * Writes IPv6 and fragment header of every fragment of the packet whose 40-byte IPv6 header lies at `networkAt` in `view`, without extension
 * headers, so that none is longer than `mtu`: `FRAGMENT_HEADERS6` bytes at `headersAt` + k·`stride` in `area`. Returns the number of
 * fragments, at least 1 (then with a fragment header too), or a refusal (train.ts), after which nothing was written. Payload of fragment k: from byte
 * 40 + k·`fragmentPayload6` of the packet, up to that of fragment k + 1, or to the end.
 */
export function fragmentHeaders6(
  view: DataView,
  networkAt: number,
  mtu: number,
  identifier: number,
  area: DataView,
  headersAt: number,
  stride: number,
): number {
  const total = ipv6.payloadLength(view, networkAt);
  const count = planFragments(total, FRAGMENT_HEADERS6, mtu);
  if (count < 0) return count;
  if (headersAt < 0 || headersAt + count * stride > area.byteLength) return REFUSED_ROOM;
  const size = fragmentPayload6(mtu);
  const next = ipv6.nextHeader(view, networkAt);
  for (let k = 0, at = headersAt; k < count; k++, at += stride) {
    const isLast = k === count - 1;
    // Native order both ways: the bytes arrive as they lie.
    for (let w = 0; w < HEADER; w += 4) area.setInt32(at + w, view.getInt32(networkAt + w, true), true);
    ipv6.setPayloadLength(area, at, FRAGMENT_HEADER + (isLast ? total - k * size : size));
    ipv6.setNextHeader(area, at, ipv6.NEXT_FRAGMENT);
    area.setInt32(at + HEADER, (next << 24) | (k * size) | (isLast ? 0 : MORE));
    area.setInt32(at + HEADER + 4, identifier);
  }
  return count;
}
