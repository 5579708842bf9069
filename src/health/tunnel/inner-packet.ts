/**
 * The packets of a probe as they lie inside the tunnel: what a client would send to the service, from an address of this director.
 *
 *     | IPv4 20 or IPv6 40 | TCP 20 (+ 4: MSS) or UDP 8 or ICMP 8 | payload |
 */
import * as checksum from '../../wire/checksum.ts';
import * as icmpv4 from '../../wire/icmpv4.ts';
import * as icmpv6 from '../../wire/icmpv6.ts';
import { type IpPacket, ipPacket, transportSum } from '../../wire/ip-packet.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import * as ipv6 from '../../wire/ipv6.ts';
import * as tcp from '../../wire/tcp.ts';
import * as udp from '../../wire/udp.ts';

/** Between whom: addresses of 4 or 16 bytes, both of one family. */
export interface Ends {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** Reserved port; the identifier of an echo request. */
  readonly sourcePort: number;
  /** 0 for ICMP. */
  readonly destinationPort: number;
}

/** TTL or hop limit inside the tunnel. */
export type HopLimit = number;

/** One segment of a TCP connection. Numbers are unsigned. */
export interface Segment {
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly payload: Uint8Array;
}

/**
 * Largest segments that we take: what every path of the family carries (RFC 9293 §3.7.1, RFC 8200 §5). Answers come outside the tunnel, so no tunnel
 * header counts; a status line needs no more.
 */
const MSS4 = 536;
const MSS6 = 1220;
/** As much of an answer as a worker may send before we acknowledge: a few segments. */
export const WINDOW = 8192;
const MSS_OPTION = 0x0204;
const NO_BYTES = new Uint8Array(0);

/** A packet between `ends` of `length` bytes behind its IP header. */
function packet({ source, destination }: Ends, protocol: number, length: number, hops: HopLimit): IpPacket {
  return ipPacket(source, destination, protocol, length, hops);
}

/** A TCP segment; one with SYN says how large segments may be. */
export function tcpPacket(ends: Ends, segment: Segment, hops: HopLimit): Uint8Array {
  const option = (segment.flags & tcp.SYN) === 0 ? 0 : 4;
  const header = tcp.HEADER_LENGTH + option;
  const length = header + segment.payload.length;
  const whole = packet(ends, ipv4.PROTOCOL_TCP, length, hops);
  const { bytes, view, at } = whole;
  tcp.setSourcePort(view, at, ends.sourcePort);
  tcp.setDestinationPort(view, at, ends.destinationPort);
  tcp.setSequence(view, at, segment.sequence | 0);
  view.setInt32(at + tcp.ACKNOWLEDGEMENT_AT, segment.acknowledgement | 0);
  view.setUint8(at + tcp.DATA_OFFSET_AT, (header >> 2) << 4);
  tcp.setFlags(view, at, segment.flags);
  view.setUint16(at + tcp.WINDOW_AT, (segment.flags & tcp.RST) === 0 ? WINDOW : 0);
  if (option > 0) {
    view.setUint16(at + tcp.HEADER_LENGTH, MSS_OPTION);
    view.setUint16(at + tcp.HEADER_LENGTH + 2, ends.source.length === 16 ? MSS6 : MSS4);
  }
  bytes.set(segment.payload, at + header);
  tcp.setChecksum(view, at, checksum.finish(transportSum(whole, ipv4.PROTOCOL_TCP)));
  return bytes;
}

export function udpPacket(ends: Ends, payload: Uint8Array, hops: HopLimit): Uint8Array {
  const length = udp.HEADER_LENGTH + payload.length;
  const whole = packet(ends, ipv4.PROTOCOL_UDP, length, hops);
  const { bytes, view, at } = whole;
  udp.write(view, at, ends.sourcePort, ends.destinationPort, length, 0);
  bytes.set(payload, at + udp.HEADER_LENGTH);
  udp.setChecksum(view, at, checksum.finishUdp(transportSum(whole, ipv4.PROTOCOL_UDP)));
  return bytes;
}

/** An echo request with the source port as identifier. */
export function echoPacket(ends: Ends, sequence: number, payload: Uint8Array = NO_BYTES, hops: HopLimit = 64): Uint8Array {
  const length = icmpv4.HEADER_LENGTH + payload.length;
  const six = ends.source.length === 16;
  const { bytes, view, at } = packet(ends, six ? ipv6.NEXT_ICMPV6 : ipv4.PROTOCOL_ICMP, length, hops);
  const end = at + length;
  (six ? icmpv6 : icmpv4).writeStart(view, at, six ? icmpv6.TYPE_ECHO_REQUEST : icmpv4.TYPE_ECHO_REQUEST, 0);
  view.setUint16(at + icmpv4.REST_AT, ends.sourcePort);
  view.setUint16(at + icmpv4.REST_AT + 2, sequence);
  bytes.set(payload, at + icmpv4.HEADER_LENGTH);
  if (six) icmpv6.fillChecksum(view, ipv6.SOURCE_AT, at, end);
  else icmpv4.fillChecksum(view, at, end);
  return bytes;
}
