/**
 * A train: consecutive TCP segments of one flow on their way to become one super-packet. Nothing is copied while it grows; in the end
 * only its headers are written anew, and the payloads are gathered from where they lie:
 *
 *     received   … | IP TCP | payload 0 |  … | IP TCP | payload 1 |  … | IP TCP | payload 2 (may be shorter) |
 *                             ^ payloadAt[0]            ^ payloadAt[1]            ^ payloadAt[2]
 *     written    | virtio-net | IP TCP | payload 0 | payload 1 | payload 2 |
 *
 * A segment joins when the kernel's segmentation of the super-packet would give back exactly this segment: everything in its headers
 * equals the first one's but lengths, checksums, sequence, identification, and FIN and PSH on the last. That is Linux's GRO
 * (tcp_gro_receive, inet_gro_flush), with the urgent pointer compared too. Two freedoms, as Linux takes them: DF packets may all
 * have one identification, which then means nothing (RFC 6864 §4.1), and a checksum of 0xffff is as good as 0.
 */
import * as checksum from '../wire/checksum.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';
import * as virtio from '../wire/virtio-net.ts';
import { type InnerPacket, isWhole } from './inner-packet.ts';

const TCP = ipv4.PROTOCOL_TCP;
const TCP_HEADER = tcp.HEADER_LENGTH;
const DF = ipv4.DONT_FRAGMENT;
const ADDRESSES4 = ipv4.SOURCE_AT;
const ADDRESSES6 = ipv6.SOURCE_AT;
const IPV6_HEADER = ipv6.HEADER_LENGTH;
const VIRTIO_HEADER = virtio.HEADER_LENGTH_MERGEABLE;
const OFFSET_AND_FLAGS = tcp.DATA_OFFSET_AT;
const URGENT_AT = 18;
const HOP_LIMIT_AT = ipv6.HOP_LIMIT_AT;
/** Of data offset, flags and window as one word: everything but FIN and PSH. */
const WITHOUT_FIN_PSH = ~((tcp.FIN | tcp.PSH) << 16);

export const MAX_SEGMENTS = 64;
/** Bytes of a super-packet, IP header included: what an IPv4 total length can say, for both families. */
export const MAX_BYTES = 65535;
/** Room for virtio-net 12, IPv6 40 and TCP 60. */
export const HEADER_ROOM = 128;

export class Train {
  /** Segments in it; 0: not in use. */
  count = 0;
  hash = 0;
  /** First segment's IP header, which speaks for all. */
  at = 0;
  isIpv4 = false;
  /** Bytes of IP and TCP header, the same for every segment. */
  headerLength = 0;
  /** Payload bytes of every segment but the last, which may have fewer. */
  segmentSize = 0;
  /** Payload bytes of all segments. */
  payload = 0;
  readonly payloadAt = new Int32Array(MAX_SEGMENTS);
  #transportAt = 0;
  #nextSequence = 0;
  /** 1 when identifications count up, 0 when every segment has the same. */
  #identificationStep = 1;
  /** FIN and PSH of the last segment. */
  #ending = 0;

  start(view: DataView, packet: InnerPacket): void {
    this.count = 1;
    this.hash = packet.hash;
    this.at = packet.at;
    this.isIpv4 = packet.isIpv4;
    this.headerLength = packet.payloadAt - packet.at;
    this.segmentSize = packet.payload;
    this.payload = packet.payload;
    this.payloadAt[0] = packet.payloadAt;
    this.#transportAt = packet.transportAt;
    this.#nextSequence = (tcp.sequence(view, packet.transportAt) + packet.payload) | 0;
    this.#identificationStep = 1;
    this.#ending = packet.ending;
  }

  /** True when the packet is of this train's flow: addresses and ports. */
  isOfFlow(view: DataView, packet: InnerPacket): boolean {
    if (this.isIpv4 !== packet.isIpv4) return false;
    if (tcp.ports(view, this.#transportAt) !== tcp.ports(view, packet.transportAt)) return false;
    const addressesAt = this.isIpv4 ? ADDRESSES4 : ADDRESSES6;
    return equalWords(view, this.at + addressesAt, packet.at + addressesAt, this.isIpv4 ? 8 : 32);
  }

  /** True when the segment, of this flow, continues the train. Its checksum is not looked at. */
  continuesWith(view: DataView, packet: InnerPacket): boolean {
    if (packet.payload > this.segmentSize || packet.payloadAt - packet.at !== this.headerLength) return false;
    if (this.headerLength + this.payload + packet.payload > MAX_BYTES) return false;
    const mine = this.#transportAt;
    const other = packet.transportAt;
    if (tcp.sequence(view, other) !== this.#nextSequence) return false;
    if (tcp.acknowledgement(view, mine) !== tcp.acknowledgement(view, other)) return false;
    const difference = view.getInt32(mine + OFFSET_AND_FLAGS) ^ view.getInt32(other + OFFSET_AND_FLAGS);
    if ((difference & WITHOUT_FIN_PSH) !== 0) return false;
    if (view.getUint16(mine + URGENT_AT) !== view.getUint16(other + URGENT_AT)) return false;
    const options = packet.payloadAt - other - TCP_HEADER;
    if (!equalWords(view, mine + TCP_HEADER, other + TCP_HEADER, options)) return false;
    return this.isIpv4 ? this.#continuesIpv4(view, packet.at) : this.#continuesIpv6(view, packet.at);
  }

  #continuesIpv4(view: DataView, at: number): boolean {
    const fragment = ipv4.fragment(view, at);
    if (ipv4.ttl(view, at) !== ipv4.ttl(view, this.at) || fragment !== ipv4.fragment(view, this.at)) return false;
    if (ipv4.trafficClass(view, at) !== ipv4.trafficClass(view, this.at)) return false;
    const passed = (ipv4.identification(view, at) - ipv4.identification(view, this.at)) & 0xffff;
    // The second segment shows which kind of sender it is; only without fragments may an identification repeat.
    if (this.count === 1 && passed === 0 && (fragment & DF) !== 0) this.#identificationStep = 0;
    return passed === this.count * this.#identificationStep;
  }

  #continuesIpv6(view: DataView, at: number): boolean {
    // Version, traffic class and flow label.
    if (view.getInt32(at) !== view.getInt32(this.at)) return false;
    return view.getUint8(at + HOP_LIMIT_AT) === view.getUint8(this.at + HOP_LIMIT_AT);
  }

  /** The first segment's checksum, which is looked at when a second one comes: one that stays alone is left to the kernel. */
  isFirstWhole(view: DataView): boolean {
    const header = this.headerLength - (this.#transportAt - this.at);
    return isWhole(view, this.at, this.#transportAt, header + this.segmentSize, this.isIpv4);
  }

  /** Takes a segment for which `continuesWith` holds and whose checksum is right. True: the train takes no more after it. */
  add(packet: InnerPacket): boolean {
    this.payloadAt[this.count++] = packet.payloadAt;
    this.payload += packet.payload;
    this.#nextSequence = (this.#nextSequence + packet.payload) | 0;
    this.#ending = packet.ending;
    return packet.ending !== 0 || packet.payload < this.segmentSize || this.count === MAX_SEGMENTS;
  }

  /** Payload bytes of segment `k`. */
  payloadOf(k: number): number {
    return k < this.count - 1 ? this.segmentSize : this.payload - k * this.segmentSize;
  }

  /**
   * Writes virtio-net, IP and TCP header of the super-packet to `out` from `outAt` on, HEADER_ROOM bytes at most; returns how many.
   * The TCP checksum is left partial (NEEDS_CSUM): the field holds the pseudo-header's sum. The kernel believes it, which is why no
   * segment may join unseen.
   */
  writeHeaders(view: DataView, out: DataView, outAt: number): number {
    const networkHeader = this.#transportAt - this.at;
    const type = this.isIpv4 ? virtio.GSO_TCPV4 : virtio.GSO_TCPV6;
    virtio.write(out, outAt, virtio.FLAG_NEEDS_CSUM, type, this.headerLength, this.segmentSize, networkHeader, tcp.CHECKSUM_AT);
    // num buffers: for reading only.
    out.setUint16(outAt + virtio.HEADER_LENGTH, 0);
    const at = outAt + VIRTIO_HEADER;
    for (let k = 0; k < this.headerLength; k += 4) out.setInt32(at + k, view.getInt32(this.at + k, true), true);
    const transportAt = at + networkHeader;
    const length = this.headerLength - networkHeader + this.payload;
    if (this.isIpv4) {
      ipv4.setTotalLength(out, at, networkHeader + length);
      ipv4.setChecksum(out, at, 0);
      ipv4.setChecksum(out, at, checksum.finish(checksum.sum(out, at, networkHeader, 0)));
    } else {
      ipv6.setPayloadLength(out, at, networkHeader - IPV6_HEADER + length);
    }
    const flagsAt = transportAt + tcp.FLAGS_AT;
    out.setUint8(flagsAt, out.getUint8(flagsAt) | this.#ending);
    const pseudo = this.isIpv4
      ? checksum.pseudoSum4(out, at + ADDRESSES4, TCP, length)
      : checksum.pseudoSum6(out, at + ADDRESSES6, TCP, length);
    tcp.setChecksum(out, transportAt, checksum.fold(pseudo));
    return VIRTIO_HEADER + this.headerLength;
  }
}

/** `length`: a multiple of 4. */
function equalWords(view: DataView, a: number, b: number, length: number): boolean {
  for (let k = 0; k < length; k += 4) if (view.getInt32(a + k) !== view.getInt32(b + k)) return false;
  return true;
}
