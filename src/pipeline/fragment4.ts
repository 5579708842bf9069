/**
 * IPv4 fragmentation (RFC 791 §3.2), byte for byte as Linux does it (net/ipv4/ip_output.c ip_do_fragment, ip_options.c
 * ip_options_fragment), except that an identification of 0 is replaced first. The kernel is the judge: test/oracle/too-big.test.ts.
 *
 * The packet is never copied. For each fragment only its IPv4 header is written, one record per fragment as segment.ts does it; the
 * payload stays where it lies, and the egress gathers the two:
 *
 *     packet         | IPv4, options | payload 0    | payload 1    | payload 2  |
 *                    ^ networkAt     ^ + header     ^ + size       ^ + 2·size   ^ end
 *                                       ↑              ↑              ↑
 *     header area    | outer IP UDP GUE | IPv4 |…| outer … | IPv4 |…| outer … | IPv4 |…|
 *                    ^ headersAt        ^ + outerLength    ^ + stride
 *
 * What changes from the packet's own header: total length, MF and offset, checksum. Options without the copied flag become no-operation in
 * all fragments but the first: the header keeps its length, so that all payloads but the last are of one size. A fragment can be
 * fragmented again: offsets add up and MF stays.
 *
 * The transport checksum covers the whole datagram and must be finished before (a partial one would reach the receiver as it is).
 */
import * as ipv4 from '../wire/ipv4.ts';
import { MAX_SEGMENTS, REFUSED_COUNT, REFUSED_LENGTH, REFUSED_ROOM, REFUSED_SIZE } from './train.ts';

/** The packet says that it may not be fragmented. Beside the refusals of train.ts. */
export const REFUSED_DONT_FRAGMENT = -32;

const END_OF_OPTIONS = 0;
const NO_OPERATION = 1;
/** First bit of an option's type: it stands in every fragment (RFC 791 §3.1). */
const COPIED = 0x80;
/** Of a datagram, all its fragments together. */
const LARGEST_PAYLOAD = 65535 - ipv4.HEADER_LENGTH;

/**
 * Payload bytes of every fragment but the last, with IP headers of `header` bytes: a multiple of 8, the unit of offsets. 0 or less when
 * `innerMtu` has no room for any.
 */
export function fragmentPayload(header: number, innerMtu: number): number {
  return (innerMtu - header) & ~7;
}

/**
 * Fragments that `payload` bytes make: 1 when they fit, else as many as needed, or REFUSED_SIZE (no room for 8 bytes), REFUSED_COUNT (more
 * than MAX_SEGMENTS). The last fragment may be longer than the others, by up to 7 bytes, because its length need not be a multiple of 8.
 */
export function planFragments(payload: number, header: number, innerMtu: number): number {
  const most = innerMtu - header;
  if (payload <= most) return 1;
  const size = most & ~7;
  if (size <= 0) return REFUSED_SIZE;
  const count = 1 + (((payload - most + size - 1) / size) | 0);
  return count > MAX_SEGMENTS ? REFUSED_COUNT : count;
}

/** Makes every option without the copied flag no-operation, in the header of `length` bytes at `at`. A broken list is left from there on. */
function dropFirstOptions(area: DataView, at: number, length: number): void {
  const end = at + length;
  let here = at + ipv4.HEADER_LENGTH;
  while (here < end) {
    const type = area.getUint8(here);
    if (type === END_OF_OPTIONS) return;
    if (type === NO_OPERATION) {
      here++;
      continue;
    }
    const size = here + 1 < end ? area.getUint8(here + 1) : 0;
    if (size < 2 || here + size > end) return;
    if ((type & COPIED) === 0) for (let k = 0; k < size; k++) area.setUint8(here + k, NO_OPERATION);
    here += size;
  }
}

/**
 * Writes the IPv4 header of every fragment of the packet between `networkAt` and `end` in `view`, so that none is longer than `innerMtu`.
 * `identifier`, 1–65,535, is used when a whole packet has identification 0, which its receiver could mix up with its neighbours'. `area`: where
 * the records go, which may be the same memory; record k begins at `headersAt` + k·`stride`, its IPv4 header `outerLength` bytes further.
 *
 * Returns the number of fragments (1: it fits, its header was copied), or a refusal (train.ts, REFUSED_DONT_FRAGMENT), after which no record
 * was written. Payload of fragment k: from `networkAt` + header + k·`fragmentPayload`, up to that of fragment k + 1, or `end`. Reads nothing
 * outside `networkAt` … `end`.
 */
export function fragment4(
  view: DataView,
  networkAt: number,
  end: number,
  innerMtu: number,
  identifier: number,
  area: DataView,
  headersAt: number,
  stride: number,
  outerLength: number,
): number {
  if (networkAt < 0 || end > view.byteLength || end - networkAt < ipv4.HEADER_LENGTH) return REFUSED_LENGTH;
  const length = end - networkAt;
  if (ipv4.totalLength(view, networkAt) !== length || ipv4.headerLength(view, networkAt) > length) return REFUSED_LENGTH;
  return fragmentHeaders4(view, networkAt, innerMtu, identifier, area, headersAt, stride, outerLength);
}

/** The same for a packet of which only the IPv4 header lies at `networkAt`, its payload perhaps elsewhere: nothing but the header is read. */
export function fragmentHeaders4(
  view: DataView,
  networkAt: number,
  innerMtu: number,
  identifier: number,
  area: DataView,
  headersAt: number,
  stride: number,
  outerLength: number,
): number {
  const header = ipv4.headerLength(view, networkAt);
  const total = ipv4.totalLength(view, networkAt);
  if (ipv4.version(view, networkAt) !== 4 || header < ipv4.HEADER_LENGTH || total < header) return REFUSED_LENGTH;
  const field = ipv4.fragment(view, networkAt);
  const offset = field & ipv4.FRAGMENT_OFFSET;
  // A fragment that reaches over the largest datagram; its parts' offsets would run into the flags.
  if ((offset << 3) + total - header > LARGEST_PAYLOAD) return REFUSED_LENGTH;
  const count = planFragments(total - header, header, innerMtu);
  if (count < 0) return count;
  if (count > 1 && (field & ipv4.DONT_FRAGMENT) !== 0) return REFUSED_DONT_FRAGMENT;
  const first = headersAt + outerLength;
  if (outerLength + header > stride || headersAt < 0 || headersAt + count * stride > area.byteLength) return REFUSED_ROOM;
  const own = ipv4.identification(view, networkAt);
  // Fragments of one datagram share its identification: that of a fragment may not change here.
  const isWhole = (field & (ipv4.MORE_FRAGMENTS | ipv4.FRAGMENT_OFFSET)) === 0;
  const chosen = own === 0 && isWhole && count > 1 ? identifier : own;
  const size = fragmentPayload(header, innerMtu);
  const more = field & ipv4.MORE_FRAGMENTS;
  for (let k = 0, at = first; k < count; k++, at += stride) {
    // Headers are multiples of four bytes. Native order both ways: the bytes arrive as they lie.
    for (let w = 0; w < header; w += 4) area.setInt32(at + w, view.getInt32(networkAt + w, true), true);
    if (count === 1) return 1;
    const isLast = k === count - 1;
    const here = offset + k * (size >> 3);
    ipv4.setTotalLength(area, at, isLast ? total - k * size : header + size);
    ipv4.setIdentification(area, at, chosen);
    ipv4.setFragment(area, at, here | (isLast ? more : ipv4.MORE_FRAGMENTS));
    // A later fragment has lost them already.
    if (k > 0 && offset === 0 && header > ipv4.HEADER_LENGTH) dropFirstOptions(area, at, header);
    ipv4.setChecksum(area, at, ipv4.computeChecksum(area, at));
  }
  return count;
}
