/**
 * Control data of one UDP message: what our outer IP header says and the kernel would otherwise choose. Written once per message of
 * a vector; only the values change per packet.
 *
 *     struct cmsghdr: | u64 length | int level | int type | data … (to 8 bytes) |
 *
 *     IPv4:  0 IP_PKTINFO {int ifindex, source, 4 unused}   32 IP_TOS {int}        56 IP_TTL {int}          80 bytes
 *     IPv6:  0 IPV6_PKTINFO {source[16], int ifindex}       40 IPV6_TCLASS {int}   64 IPV6_HOPLIMIT {int}   88 bytes
 *                                                           88 IPV6_FLOWINFO {flow label, as it stands in the header}   112 bytes
 *            a train: behind that UDP_SEGMENT {u16}                                                        104, 136 bytes
 *
 * The source address comes first, so that a packet with the default TTL and no traffic class carries only that (a shorter length), and one without
 * flow label all but that. A train carries everything: the segment size last, so that each of its segments can leave by itself with the same data, shorter.
 */
import type { MessageVector } from '../../raw-socket/message.ts';
import {
  IP_PKTINFO,
  IP_TOS,
  IP_TTL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  IPV6_FLOWINFO,
  IPV6_HOPLIMIT,
  IPV6_PKTINFO,
  IPV6_TCLASS,
  UDP_SEGMENT,
} from '../../raw-socket/socket.ts';

/** Room per message for either family. */
export const CONTROL_BYTES = 136;
/** Control data of a packet, without a segment size. */
export const SINGLE_CONTROL4 = 80;
export const SINGLE_CONTROL6 = 112;
/** Of one without flow label. */
const UNLABELLED_CONTROL6 = 88;
/** TTL and hop limit of the sockets: packets with this one need no control message for it. */
export const DEFAULT_TTL = 64;

const HEADER_WORDS = 4;
/** The flow label in the first word of an IPv6 header, loaded little-endian. */
const LABEL_BYTES = 0xffff_0f00 | 0;
/** A control message of up to 8 bytes of data. */
const ENTRY = 24;

function entry(words: Int32Array, at: number, dataBytes: number, level: number, type: number): void {
  words[at] = HEADER_WORDS * 4 + dataBytes;
  words[at + 1] = 0;
  words[at + 2] = level;
  words[at + 3] = type;
}

/** Lays out message `i`'s control data for IPv4. */
export function layControl4(vector: MessageVector, i: number): void {
  const at = vector.controlAt(i) >> 2;
  entry(vector.int32, at, 12, IPPROTO_IP, IP_PKTINFO);
  entry(vector.int32, at + 8, 4, IPPROTO_IP, IP_TOS);
  entry(vector.int32, at + 14, 4, IPPROTO_IP, IP_TTL);
  entry(vector.int32, at + (SINGLE_CONTROL4 >> 2), 2, IPPROTO_UDP, UDP_SEGMENT);
}

/** Lays out message `i`'s control data for IPv6. */
export function layControl6(vector: MessageVector, i: number): void {
  const at = vector.controlAt(i) >> 2;
  entry(vector.int32, at, 20, IPPROTO_IPV6, IPV6_PKTINFO);
  entry(vector.int32, at + 10, 4, IPPROTO_IPV6, IPV6_TCLASS);
  entry(vector.int32, at + 16, 4, IPPROTO_IPV6, IPV6_HOPLIMIT);
  entry(vector.int32, at + 22, 4, IPPROTO_IPV6, IPV6_FLOWINFO);
  entry(vector.int32, at + (SINGLE_CONTROL6 >> 2), 2, IPPROTO_UDP, UDP_SEGMENT);
}

/**
 * Takes source, TOS and TTL from the outer IPv4 header at `at`. `segment`: bytes of each datagram that the kernel cuts the message into; 0
 * when it is one.
 */
export function writeControl4(vector: MessageVector, i: number, view: DataView, at: number, segment: number): void {
  const words = vector.int32;
  const control = vector.controlAt(i) >> 2;
  const tos = view.getUint8(at + 1);
  const ttl = view.getUint8(at + 8);
  words[control + 5] = view.getInt32(at + 12, true);
  words[control + 12] = tos;
  words[control + 18] = ttl;
  if (segment > 0) {
    words[control + ((SINGLE_CONTROL4 + 16) >> 2)] = segment;
    vector.setControlLength(i, SINGLE_CONTROL4 + ENTRY);
  } else {
    vector.setControlLength(i, tos === 0 && ttl === DEFAULT_TTL ? 32 : SINGLE_CONTROL4);
  }
}

/** Takes source, traffic class, hop limit and flow label from the outer IPv6 header at `at`; `segment` as above. */
export function writeControl6(vector: MessageVector, i: number, view: DataView, at: number, segment: number): void {
  const words = vector.int32;
  const control = vector.controlAt(i) >> 2;
  const trafficClass = (view.getUint16(at, false) >> 4) & 0xff;
  const hopLimit = view.getUint8(at + 7);
  // Native, as it lies in the header: version and traffic class fill the first byte and half of the second.
  const label = view.getInt32(at, true) & LABEL_BYTES;
  words[control + 4] = view.getInt32(at + 8, true);
  words[control + 5] = view.getInt32(at + 12, true);
  words[control + 6] = view.getInt32(at + 16, true);
  words[control + 7] = view.getInt32(at + 20, true);
  words[control + 14] = trafficClass;
  words[control + 20] = hopLimit;
  words[control + 26] = label;
  if (segment > 0) {
    words[control + ((SINGLE_CONTROL6 + 16) >> 2)] = segment;
    vector.setControlLength(i, SINGLE_CONTROL6 + ENTRY);
  } else if (label !== 0) {
    vector.setControlLength(i, SINGLE_CONTROL6);
  } else {
    vector.setControlLength(i, trafficClass === 0 && hopLimit === DEFAULT_TTL ? 40 : UNLABELLED_CONTROL6);
  }
}
