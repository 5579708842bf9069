/**
 * What an inner packet is to the coalescer: part of a TCP flow or not, and if it is, whether it may stand in a train at all. The
 * conditions are those of Linux's GRO (net/ipv4/af_inet.c inet_gro_receive, net/ipv6/ip6_offload.c ipv6_gro_receive,
 * net/ipv4/tcp_offload.c tcp_gro_receive), without IPv6 extension headers.
 */
import * as checksum from '../wire/checksum.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as tcp from '../wire/tcp.ts';

// Local names: an imported constant is loaded from its module at every use.
const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const ICMPV6 = ipv6.NEXT_ICMPV6;
const IPV4_HEADER = ipv4.HEADER_LENGTH;
const IPV6_HEADER = ipv6.HEADER_LENGTH;
const TCP_HEADER = tcp.HEADER_LENGTH;
const DF = ipv4.DONT_FRAGMENT;
const ACK = tcp.ACK;
/** FIN and PSH end a train; ECE may stand in one. SYN, RST, URG and CWR may not. */
const PERMITTED = tcp.FIN | tcp.PSH | tcp.ECE;
const FIN_PSH = tcp.FIN | tcp.PSH;
/** Version 4 and a header without options. */
const PLAIN_IPV4 = 0x45;
const SOURCE4 = ipv4.SOURCE_AT;
const SOURCE6 = ipv6.SOURCE_AT;

/** No TCP: its order among TCP packets means nothing. */
export const BESIDE = 0;
/** May belong to a TCP flow, but not to one that can be read off: fragments, IP options, extension headers, cut headers. */
export const UNPLACED = 1;
/** Of a TCP flow that can be read off, and never part of a train: other flags, no payload, a wrong IPv4 header. */
export const ALONE = 2;
/** A data segment that may stand in a train. Its TCP checksum has not been looked at. */
export const SEGMENT = 3;

/** The answer of `examine`, written in place. Offsets count like `at`. */
export interface InnerPacket {
  at: number;
  isIpv4: boolean;
  transportAt: number;
  payloadAt: number;
  /** Bytes of TCP payload. */
  payload: number;
  /** FIN and PSH bits that are set: the train ends here. */
  ending: number;
  /** Of addresses and ports: int32, equal for every packet of a flow. */
  hash: number;
}

export function createInnerPacket(): InnerPacket {
  return { at: 0, isIpv4: false, transportAt: 0, payloadAt: 0, payload: 0, ending: 0, hash: 0 };
}

/** Mixes one word into a hash (the constant is 2^32 divided by the golden ratio). */
function mix(hash: number, word: number): number {
  const mixed = Math.imul(hash ^ word, 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
}

function addressHash(view: DataView, from: number, words: number): number {
  let hash = 0;
  for (let k = 0; k < words; k++) hash = mix(hash, view.getInt32(from + (k << 2)));
  return hash;
}

/**
 * Reads the IP packet at `at`, `length` bytes as its own header says (`decapsulate` has seen to that), `family` 4 or 6. Returns one of
 * the four kinds above. `out.at`, `isIpv4`, `transportAt` and `hash` are filled for ALONE and SEGMENT, the rest for SEGMENT. Reads
 * nothing outside the packet.
 */
export function examine(view: DataView, at: number, length: number, family: number, out: InnerPacket): number {
  const isIpv4 = family === 4;
  const header = isIpv4 ? IPV4_HEADER : IPV6_HEADER;
  if (isIpv4) {
    if (ipv4.protocol(view, at) !== TCP) return BESIDE;
    if (view.getUint8(at) !== PLAIN_IPV4 || ipv4.isFragment(view, at)) return UNPLACED;
  } else {
    const next = ipv6.nextHeader(view, at);
    if (next !== TCP) return next === UDP || next === ICMPV6 ? BESIDE : UNPLACED;
  }
  const room = length - header;
  if (room < TCP_HEADER) return UNPLACED;
  const transportAt = at + header;
  const addresses = isIpv4 ? addressHash(view, at + SOURCE4, 2) : addressHash(view, at + SOURCE6, 8);
  out.at = at;
  out.isIpv4 = isIpv4;
  out.transportAt = transportAt;
  out.hash = mix(addresses, tcp.ports(view, transportAt));

  const flags = tcp.flags(view, transportAt);
  if ((flags & ~PERMITTED) !== ACK) return ALONE;
  const transportHeader = tcp.headerLength(view, transportAt);
  if (transportHeader < TCP_HEADER || transportHeader >= room) return ALONE;
  if (isIpv4) {
    if ((ipv4.fragment(view, at) & ~DF) !== 0) return ALONE;
    if (!checksum.verifies(checksum.sum(view, at, IPV4_HEADER, 0))) return ALONE;
  }
  out.payloadAt = transportAt + transportHeader;
  out.payload = room - transportHeader;
  out.ending = flags & FIN_PSH;
  return SEGMENT;
}

/** True when a TCP segment of `length` bytes, header and payload, is undamaged. Costs a pass over every byte. */
export function isWhole(view: DataView, at: number, transportAt: number, length: number, isIpv4: boolean): boolean {
  const pseudo = isIpv4
    ? checksum.pseudoSum4(view, at + SOURCE4, TCP, length)
    : checksum.pseudoSum6(view, at + SOURCE6, TCP, length);
  return checksum.verifies(checksum.sum(view, transportAt, length, pseudo));
}
