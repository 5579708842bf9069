/**
 * virtio-net header (include/uapi/linux/virtio_net.h; OASIS virtio 1.2 §5.1.6) as TUN, TAP and AF_PACKET put it in front of a frame. Little-endian,
 * because we ask the kernel for it (TUNSETVNETLE); AF_PACKET uses the machine's order, which is little-endian on x86-64 and arm64.
 *
 *     0       1          2                4          6            8             10            12
 *     | flags | gso type | header length  | gso size | csum start | csum offset | num buffers |
 *       └ NEEDS_CSUM: the field at csum start + csum offset holds the pseudo-header's sum; all offsets count from the frame
 *
 * 10 bytes without num buffers (the default), 12 with (mergeable receive buffers), 24 with what a UDP tunnel needs (Linux ≥ 6.17,
 * struct virtio_net_hdr_v1_hash_tunnel; offsets count from the frame too):
 *
 *     12           16            18         20                22                24
 *     | hash value | hash report | padding  | outer transport | inner network   |
 */
import { WIRE_MALFORMED, WIRE_OK, WIRE_TRUNCATED } from './check.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const MALFORMED = WIRE_MALFORMED;
const FLAGS = 0;
const GSO_TYPE = 1;
const GSO_HEADER_LENGTH = 2;
const GSO_SIZE = 4;
const CSUM_START = 6;
const CSUM_OFFSET = 8;
const NUM_BUFFERS = 10;
const OUTER_TRANSPORT = 20;
const INNER_NETWORK = 22;
const HEADER = 10;
const NEEDS_CSUM = 1;
const NONE = 0;

export const HEADER_LENGTH = HEADER;
/** With num buffers. */
export const HEADER_LENGTH_MERGEABLE = 12;
/** With hash and tunnel fields. */
export const HEADER_LENGTH_TUNNEL = 24;

/** The transport checksum is partial: complete it before the packet leaves. */
export const FLAG_NEEDS_CSUM = NEEDS_CSUM;
/** The device has verified the checksum. */
export const FLAG_DATA_VALID = 2;
/** The outer UDP checksum of a tunnel is partial too. */
export const FLAG_TUNNEL_CSUM = 8;

export const GSO_NONE = NONE;
export const GSO_TCPV4 = 1;
/** UDP to be cut by IP fragmentation. */
export const GSO_UDP = 3;
export const GSO_TCPV6 = 4;
/** UDP to be cut into datagrams (USO). */
export const GSO_UDP_L4 = 5;
/** Bits beside the type: tunnel over IPv4, tunnel over IPv6, and ECN (CWR set on the first segment only). */
export const GSO_BIT_UDP_TUNNEL_IPV4 = 0x20;
export const GSO_BIT_UDP_TUNNEL_IPV6 = 0x40;
export const GSO_BIT_ECN = 0x80;

/**
 * WIRE_OK when the header lies before `end`, a checksum to complete lies inside the frame, which runs from `frameAt` to `end`, and
 * a frame to be segmented says its segment size.
 */
export function check(view: DataView, at: number, frameAt: number, end: number): number {
  if (end - at < HEADER || frameAt > end) return TRUNCATED;
  if ((flags(view, at) & NEEDS_CSUM) !== 0 && frameAt + csumStart(view, at) + csumOffset(view, at) + 2 > end) return MALFORMED;
  return gsoType(view, at) !== NONE && gsoSize(view, at) === 0 ? MALFORMED : OK;
}

export function flags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS);
}

/** Type with its bits. */
export function gsoType(view: DataView, at: number): number {
  return view.getUint8(at + GSO_TYPE);
}

/** Bytes of all headers from the frame's start to the payload that segments repeat; a hint, not checked by every sender. */
export function gsoHeaderLength(view: DataView, at: number): number {
  return view.getUint16(at + GSO_HEADER_LENGTH, true);
}

/** Payload bytes per segment. */
export function gsoSize(view: DataView, at: number): number {
  return view.getUint16(at + GSO_SIZE, true);
}

/** Where summing starts: the transport header, counted from the frame's start. */
export function csumStart(view: DataView, at: number): number {
  return view.getUint16(at + CSUM_START, true);
}

/** Where the checksum field lies, counted from csum start: 16 for TCP, 6 for UDP. */
export function csumOffset(view: DataView, at: number): number {
  return view.getUint16(at + CSUM_OFFSET, true);
}

/** A header that asks for nothing: ten zero bytes. */
export function writeEmpty(view: DataView, at: number): void {
  view.setInt32(at, 0);
  view.setInt32(at + 4, 0);
  view.setUint16(at + 8, 0);
}

/** Writes the ten bytes. */
export function write(
  view: DataView,
  at: number,
  flagByte: number,
  typeByte: number,
  headerBytes: number,
  segmentBytes: number,
  start: number,
  offset: number,
): void {
  view.setUint8(at + FLAGS, flagByte);
  view.setUint8(at + GSO_TYPE, typeByte);
  view.setUint16(at + GSO_HEADER_LENGTH, headerBytes, true);
  view.setUint16(at + GSO_SIZE, segmentBytes, true);
  view.setUint16(at + CSUM_START, start, true);
  view.setUint16(at + CSUM_OFFSET, offset, true);
}

/** Writes the fourteen bytes behind those: no buffers, no hash, and the two offsets of a UDP tunnel, 0 and 0 where there is none. */
export function writeTunnel(view: DataView, at: number, outerTransport: number, innerNetwork: number): void {
  view.setUint16(at + NUM_BUFFERS, 0);
  view.setInt32(at + HEADER_LENGTH_MERGEABLE, 0);
  view.setInt32(at + HEADER_LENGTH_MERGEABLE + 4, 0);
  view.setUint16(at + OUTER_TRANSPORT, outerTransport, true);
  view.setUint16(at + INNER_NETWORK, innerNetwork, true);
}

/** Where the outer UDP header lies, counted from the frame's start. */
export function outerTransport(view: DataView, at: number): number {
  return view.getUint16(at + OUTER_TRANSPORT, true);
}

/** Where the inner IP header lies, counted from the frame's start. */
export function innerNetwork(view: DataView, at: number): number {
  return view.getUint16(at + INNER_NETWORK, true);
}

export interface VirtioNet {
  readonly flags: number;
  readonly gsoType: number;
  readonly headerLength: number;
  readonly gsoSize: number;
  readonly csumStart: number;
  readonly csumOffset: number;
}

/** The header as a plain object, null when it is not whole. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): VirtioNet | null {
  if (end - at < HEADER) return null;
  return {
    flags: flags(view, at),
    gsoType: gsoType(view, at),
    headerLength: gsoHeaderLength(view, at),
    gsoSize: gsoSize(view, at),
    csumStart: csumStart(view, at),
    csumOffset: csumOffset(view, at),
  };
}

export function text(header: VirtioNet): string {
  const partial = (header.flags & NEEDS_CSUM) === 0 ? '' : ` partial-checksum ${header.csumStart}+${header.csumOffset}`;
  const gso = header.gsoType === NONE ? '' : ` gso type 0x${header.gsoType.toString(16)} size ${header.gsoSize}`;
  return `virtio-net${partial}${gso}`;
}
