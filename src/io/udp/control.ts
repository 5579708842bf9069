/**
 * Control data of one UDP message: what our outer IP header says and the kernel would otherwise choose. Written once per message of
 * a vector; only the values change per packet.
 *
 *     struct cmsghdr: | u64 length | int level | int type | data … (to 8 bytes) |
 *
 *     IPv4:  0 IP_PKTINFO {int ifindex, source, 4 unused}   32 IP_TOS {int}        56 IP_TTL {int}          80 bytes
 *     IPv6:  0 IPV6_PKTINFO {source[16], int ifindex}       40 IPV6_TCLASS {int}   64 IPV6_HOPLIMIT {int}   88 bytes
 *
 * The source address comes first, so that a packet with the default TTL and no traffic class carries only that (a shorter length).
 */
import type { MessageVector } from '../../raw-socket/message.ts';
import {
  IP_PKTINFO,
  IP_TOS,
  IP_TTL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_HOPLIMIT,
  IPV6_PKTINFO,
  IPV6_TCLASS,
} from '../../raw-socket/socket.ts';

/** Room per message for either family. */
export const CONTROL_BYTES = 88;
/** TTL and hop limit of the sockets: packets with this one need no control message for it. */
export const DEFAULT_TTL = 64;

const HEADER_WORDS = 4;

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
}

/** Lays out message `i`'s control data for IPv6. */
export function layControl6(vector: MessageVector, i: number): void {
  const at = vector.controlAt(i) >> 2;
  entry(vector.int32, at, 20, IPPROTO_IPV6, IPV6_PKTINFO);
  entry(vector.int32, at + 10, 4, IPPROTO_IPV6, IPV6_TCLASS);
  entry(vector.int32, at + 16, 4, IPPROTO_IPV6, IPV6_HOPLIMIT);
}

/** Takes source, TOS and TTL from the outer IPv4 header at `at`. */
export function writeControl4(vector: MessageVector, i: number, view: DataView, at: number): void {
  const words = vector.int32;
  const control = vector.controlAt(i) >> 2;
  const tos = view.getUint8(at + 1);
  const ttl = view.getUint8(at + 8);
  words[control + 5] = view.getInt32(at + 12, true);
  words[control + 12] = tos;
  words[control + 18] = ttl;
  vector.setControlLength(i, tos === 0 && ttl === DEFAULT_TTL ? 32 : 80);
}

/** Takes source, traffic class and hop limit from the outer IPv6 header at `at`. */
export function writeControl6(vector: MessageVector, i: number, view: DataView, at: number): void {
  const words = vector.int32;
  const control = vector.controlAt(i) >> 2;
  const trafficClass = (view.getUint16(at, false) >> 4) & 0xff;
  const hopLimit = view.getUint8(at + 7);
  words[control + 4] = view.getInt32(at + 8, true);
  words[control + 5] = view.getInt32(at + 12, true);
  words[control + 6] = view.getInt32(at + 16, true);
  words[control + 7] = view.getInt32(at + 20, true);
  words[control + 14] = trafficClass;
  words[control + 20] = hopLimit;
  vector.setControlLength(i, trafficClass === 0 && hopLimit === DEFAULT_TTL ? 40 : 88);
}
