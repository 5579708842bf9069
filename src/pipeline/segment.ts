/**
 * Segmentation of TCP and UDP super-packets, byte for byte as Linux does it (net/ipv4/tcp_offload.c tcp_gso_segment, udp_offload.c
 * __udp_gso_segment, af_inet.c inet_gso_segment, net/ipv6/ip6_offload.c ipv6_gso_segment). The kernel is the judge: test/oracle/.
 *
 * A super-packet is never copied. For each segment only its headers are written, one record per segment; the payload stays where it
 * lies in the received frame, and the egress gathers the two:
 *
 *     frame          | IP, TCP / UDP | payload 0    | payload 1    | payload 2  |
 *                    ^ networkAt     ^ payloadAt    ^ + size       ^ + 2·size   ^ end
 *                                       ↑              ↑              ↑
 *     header area    | outer IP UDP GUE | IP, TCP |…| outer … | IP, TCP |…| outer … | IP, TCP |…|
 *                    ^ headersAt        ^ + outerLength       ^ + stride
 *
 * Written here is what stands behind the outer headers; the first `outerLength` bytes of a record are left alone. What changes from
 * the packet's own headers:
 *
 *     IPv4   total length; identification + k; header checksum          IPv6   payload length; extension headers are repeated
 *     TCP    sequence + k·size; FIN and PSH only on the last, CWR only on the first; checksum
 *     UDP    length; checksum, 0 written as 0xffff
 *
 * All else, TCP options included, is copied. TTL and hop limit too: the caller has decremented them. A DF packet with ID 0 counts
 * up from 0: Linux repeats an ID (SKB_GSO_TCP_FIXEDID) only for what its own GRO merged, and no virtio-net header can say so. AccECN's
 * gso type, which keeps CWR on every segment, has no virtio-net number on the kernels we run on either.
 *
 * Every payload byte is summed once, for its own segment's checksum. When the packet came with a finished checksum instead of a
 * partial one (`partial` false), those same sums verify it: a packet damaged on its way is refused, not made whole by new checksums.
 */
import * as checksum from '../wire/checksum.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as udp from '../wire/udp.ts';
import { checkNetwork, copyHeaders, finishNetwork, fits, fixedNetworkSum, pseudoSum, without } from './segment-headers.ts';
import * as train from './train.ts';

// Local names: an imported constant is loaded from its module at every use.
const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const IPV4_HEADER = ipv4.HEADER_LENGTH;
const IPV6_HEADER = ipv6.HEADER_LENGTH;
const TCP_HEADER = tcp.HEADER_LENGTH;
const TCP_CHECKSUM_AT = tcp.CHECKSUM_AT;
const UDP_HEADER = udp.HEADER_LENGTH;
const UDP_CHECKSUM_AT = udp.CHECKSUM_AT;
const OFFSET_AND_FLAGS_AT = tcp.DATA_OFFSET_AT;
const FIN_PSH = tcp.FIN | tcp.PSH;
const CWR = tcp.CWR;
const MAX_SEGMENTS = train.MAX_SEGMENTS;
const MAX_DATAGRAMS = train.MAX_DATAGRAMS;
const REFUSED_LENGTH = train.REFUSED_LENGTH;
const REFUSED_CHECKSUM = train.REFUSED_CHECKSUM;
const REFUSED_ROOM = train.REFUSED_ROOM;
const REFUSED_SHORT = train.REFUSED_SHORT;

export { RECORD_STRIDE as HEADER_STRIDE } from '../base/arena.ts';

/**
 * One segment, the packet itself: its headers are copied, and a partial checksum is completed. Returns 1, or REFUSED_CHECKSUM for a finished
 * one that is wrong: the outer checksum of a train takes the inner one's word (local-checksum.ts).
 */
function copyWhole(
  view: DataView,
  networkAt: number,
  transportAt: number,
  end: number,
  protocol: number,
  partial: boolean,
  area: DataView,
  recordAt: number,
  headerLength: number,
): number {
  const length = end - transportAt;
  const pseudo = pseudoSum(view, networkAt, protocol, ipv4.version(view, networkAt) === 4);
  if (!partial && !checksum.verifies(checksum.sum(view, transportAt, length, pseudo + length))) return REFUSED_CHECKSUM;
  copyHeaders(view, networkAt, area, recordAt, headerLength);
  if (!partial) return 1;
  const field = protocol === TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT;
  const start = pseudo + length + without(view.getUint16(transportAt + field));
  // The kernel completes a single packet's checksum as UDP's, whatever it is (skb_checksum_help: CSUM_MANGLED_0).
  const value = checksum.finishUdp(checksum.sum(view, transportAt, length, start));
  area.setUint16(recordAt + (transportAt - networkAt) + field, value);
  return 1;
}

/**
 * Writes the headers of every segment of a TCP packet. `view`: the frame's memory, IP header at `networkAt`, TCP header at
 * `transportAt`, first byte behind the packet at `end` (link padding excluded). `segmentSize`: payload bytes per segment. `partial`: the
 * checksum field holds no finished checksum (virtio-net NEEDS_CSUM). `area`: where the records go, which may be the same memory;
 * record k begins at `headersAt` + k·`stride`, its inner headers `outerLength` bytes (a multiple of 4) further.
 *
 * Returns the number of segments, 1 to MAX_SEGMENTS, or a refusal (train.ts), after which the records hold nothing. Reads nothing
 * outside `networkAt` … `end`. Payload of segment k: `transportAt` + TCP header + k·`segmentSize`.
 */
export function segmentTcp(
  view: DataView,
  networkAt: number,
  transportAt: number,
  end: number,
  segmentSize: number,
  partial: boolean,
  area: DataView,
  headersAt: number,
  stride: number,
  outerLength: number,
): number {
  const state = checkNetwork(view, networkAt, transportAt, end, TCP);
  if (state !== 0) return state;
  if (transportAt + TCP_HEADER > end) return REFUSED_LENGTH;
  const transportHeader = tcp.headerLength(view, transportAt);
  const payloadAt = transportAt + transportHeader;
  const payload = end - payloadAt;
  if (transportHeader < TCP_HEADER || payload < 0) return REFUSED_LENGTH;
  const count = train.planTrain(payload, segmentSize, MAX_SEGMENTS);
  if (count < 0) return count;
  const networkHeader = transportAt - networkAt;
  const headerLength = networkHeader + transportHeader;
  if (!fits(area, headersAt, stride, outerLength, headerLength, count)) return REFUSED_ROOM;
  const firstRecord = headersAt + outerLength;
  if (count === 1) {
    // To judge whether there is something to cut, the kernel counts from TCP's 20 bytes, without its options; when no checksum start tells
    // it where TCP is, from behind a plain IP header (virtio_net_hdr_to_skb). Then it finds nothing to cut, and drops.
    const plain = ipv4.version(view, networkAt) === 4 ? IPV4_HEADER : IPV6_HEADER;
    const counted = partial ? end - transportAt : end - networkAt - plain;
    if (counted - TCP_HEADER > segmentSize) return REFUSED_SHORT;
    return copyWhole(view, networkAt, transportAt, end, TCP, partial, area, firstRecord, headerLength);
  }

  const isIpv4 = ipv4.version(view, networkAt) === 4;
  const fixedNetwork = fixedNetworkSum(view, networkAt, networkHeader, isIpv4);
  const identifier = isIpv4 ? ipv4.identification(view, networkAt) : 0;
  const sequence = tcp.sequence(view, transportAt);
  const offsetAndFlags = view.getUint16(transportAt + OFFSET_AND_FLAGS_AT);
  const pseudo = pseudoSum(view, networkAt, TCP, isIpv4);
  const headerSum = checksum.sum(view, transportAt, transportHeader, 0);
  const fixed =
    pseudo +
    headerSum +
    without(sequence >>> 16) +
    without(sequence) +
    without(offsetAndFlags) +
    without(tcp.checksum(view, transportAt));

  let from = payloadAt;
  let record = firstRecord;
  let whole = 0;
  for (let k = 0; k < count; k++) {
    const isLast = k === count - 1;
    const bytes = isLast ? end - from : segmentSize;
    const flags = offsetAndFlags & ~((isLast ? 0 : FIN_PSH) | (k === 0 ? 0 : CWR));
    const place = (sequence + k * segmentSize) | 0;
    const length = transportHeader + bytes;
    const payloadSum = checksum.sum(view, from, bytes, 0);
    copyHeaders(view, networkAt, area, record, headerLength);
    finishNetwork(area, record, networkHeader + length, (identifier + k) & 0xffff, fixedNetwork, isIpv4);
    const at = record + networkHeader;
    tcp.setSequence(area, at, place);
    area.setUint16(at + OFFSET_AND_FLAGS_AT, flags);
    tcp.setChecksum(area, at, checksum.finish(fixed + length + (place >>> 16) + (place & 0xffff) + flags + payloadSum));
    // From an odd offset of the whole payload every byte stands in the other half of its word (RFC 1071 §2 B).
    whole += ((from - payloadAt) & 1) === 0 ? payloadSum : ((payloadSum & 0xff) << 8) | (payloadSum >> 8);
    from += segmentSize;
    record += stride;
  }
  if (!partial && !checksum.verifies(pseudo + transportHeader + payload + headerSum + whole)) return REFUSED_CHECKSUM;
  return count;
}

/**
 * The same for a UDP packet whose payload is `segmentSize` bytes of one datagram after another (USO). Each segment is a datagram of its
 * own. Returns 1 to MAX_DATAGRAMS, or a refusal. A finished checksum is refused as Linux refuses it: such a packet was never
 * a train of datagrams, and where one ends is not to be guessed.
 */
export function segmentUdp(
  view: DataView,
  networkAt: number,
  transportAt: number,
  end: number,
  segmentSize: number,
  partial: boolean,
  area: DataView,
  headersAt: number,
  stride: number,
  outerLength: number,
): number {
  const state = checkNetwork(view, networkAt, transportAt, end, UDP);
  if (state !== 0) return state;
  const payloadAt = transportAt + UDP_HEADER;
  const payload = end - payloadAt;
  if (payload < 0 || udp.length(view, transportAt) !== end - transportAt) return REFUSED_LENGTH;
  const count = train.planTrain(payload, segmentSize, MAX_DATAGRAMS);
  if (count < 0) return count;
  if (!partial) return REFUSED_CHECKSUM;
  const networkHeader = transportAt - networkAt;
  const headerLength = networkHeader + UDP_HEADER;
  if (!fits(area, headersAt, stride, outerLength, headerLength, count)) return REFUSED_ROOM;
  let record = headersAt + outerLength;
  if (count === 1) return copyWhole(view, networkAt, transportAt, end, UDP, true, area, record, headerLength);

  const isIpv4 = ipv4.version(view, networkAt) === 4;
  const fixedNetwork = fixedNetworkSum(view, networkAt, networkHeader, isIpv4);
  const identifier = isIpv4 ? ipv4.identification(view, networkAt) : 0;
  const ports = udp.ports(view, transportAt);
  const fixed = pseudoSum(view, networkAt, UDP, isIpv4) + (ports >>> 16) + (ports & 0xffff);
  let from = payloadAt;
  for (let k = 0; k < count; k++) {
    const bytes = k === count - 1 ? end - from : segmentSize;
    const length = UDP_HEADER + bytes;
    copyHeaders(view, networkAt, area, record, headerLength);
    finishNetwork(area, record, networkHeader + length, (identifier + k) & 0xffff, fixedNetwork, isIpv4);
    const at = record + networkHeader;
    udp.setLength(area, at, length);
    // The length counts twice: in the pseudo-header and in the header.
    udp.setChecksum(area, at, checksum.finishUdp(checksum.sum(view, from, bytes, fixed + length + length)));
    from += segmentSize;
    record += stride;
  }
  return count;
}
