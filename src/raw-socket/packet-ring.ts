/**
 * The receive ring of a packet socket: memory of the kernel's that both sides see, so that a packet is read without a system call.
 * (Documentation/networking/packet_mmap.rst, linux/if_packet.h, net/packet/af_packet.c; TPACKET_V2 since Linux 2.6.27, TPACKET_V3 since 3.2, with a
 * virtio-net header since 4.6)
 *
 *     frames (TPACKET_V2): places of one size, each handed over by itself, as soon as its packet is in it
 *     blocks (TPACKET_V3): packets behind one another, handed over by the block, when it is full or `retireMs` old
 *
 * In front of each packet, in both:
 *
 *     | header | sockaddr_ll 20 | reserve | virtio-net 10 | frame …
 *     ^ a multiple of 8 or 16            mac offset ─────► ^
 */
import { CodedError, EXIT } from '../base/errors.ts';
import { pin, retain } from './memory.ts';
import { coverPages, MAP_FIXED, MAP_SHARED, mapPages } from './pages.ts';
import { getStructOption, SOL_PACKET, setOption, setStructOption } from './socket.ts';

const PACKET_RX_RING = 5;
const PACKET_COPY_THRESH = 7;
const PACKET_VERSION = 10;
const PACKET_RESERVE = 12;
const TPACKET_V1 = 0;
const TPACKET_V2 = 1;
const TPACKET_V3 = 2;

/** Status of a frame, a block, or a packet in a block. 0: the kernel's. */
export const RING_OURS = 1;
/** Frames: the whole packet, which is larger than the frame, is in the socket's queue too, in the same order. */
export const RING_COPY = 2;
export const RING_VLAN_VALID = 1 << 4;
export const RING_VLAN_TPID_VALID = 1 << 6;

/**
 * struct tpacket2_hdr, at the first byte of a frame:
 *
 *     0 status u32 | 4 length u32 | 8 captured u32 | 12 mac u16 | 14 net u16 | 16 second u32 | 20 nanosecond u32 | 24 VLAN TCI u16 | 26 VLAN TPID u16
 */
export const FRAME_STATUS = 0;
export const FRAME_LENGTH = 4;
export const FRAME_CAPTURED = 8;
export const FRAME_MAC = 12;
export const FRAME_SECOND = 16;
export const FRAME_NANOSECOND = 20;
export const FRAME_VLAN_TCI = 24;
export const FRAME_VLAN_TPID = 26;
export const FRAME_HEADER = 32;

/**
 * struct tpacket_block_desc, at the first byte of a block:
 *
 *     0 version | 4 private | 8 status u32 | 12 packets u32 | 16 first packet u32 | 20 length u32 | 24 sequence u64 | …
 */
export const BLOCK_STATUS = 8;
export const BLOCK_PACKETS = 12;
export const BLOCK_FIRST = 16;
export const BLOCK_SEQUENCE = 24;
export const BLOCK_HEADER = 48;

/**
 * struct tpacket3_hdr, in front of each packet of a block:
 *
 *     0 next u32 | 4 second | 8 nanosecond | 12 captured u32 | 16 length u32 | 20 status u32 | 24 mac u16 | 26 net u16 | 28 hash | 32 VLAN TCI u32 | 36 VLAN TPID u16
 */
export const PACKET_NEXT = 0;
export const PACKET_CAPTURED = 12;
export const PACKET_LENGTH = 16;
export const PACKET_STATUS = 20;
export const PACKET_MAC = 24;
export const PACKET_VLAN_TCI = 32;
export const PACKET_VLAN_TPID = 36;
export const PACKET_HEADER = 48;

export interface RingShape {
  readonly kind: 'frames' | 'blocks';
  /** A multiple of the page size; a packet lies in one block. */
  readonly blockBytes: number;
  readonly blocks: number;
  /** Frames: bytes of each, a multiple of 16; as many as fit lie in a block. */
  readonly frameBytes: number;
  /** Blocks: milliseconds after which one that is not full is handed over too. */
  readonly retireMs: number;
  /** Room in front of every packet. */
  readonly reserve: number;
}

export function ringBytes(shape: RingShape): number {
  return shape.blockBytes * shape.blocks;
}

/** Gives the socket a ring, before it is bound. Throws CodedError GD_RAW_SOCKET_RING: mostly, the kernel has not so much memory. */
export function requestRing(descriptor: number, shape: RingShape): void {
  try {
    setRing(descriptor, shape);
  } catch (error) {
    throw new CodedError('GD_RAW_SOCKET_RING', `a ring of ${ringBytes(shape)} bytes: ${(error as Error).message}`, {
      exitCode: EXIT.FAILED,
      hint: 'free -m; or choose "ring: none" for the ingress',
    });
  }
}

function setRing(descriptor: number, shape: RingShape): void {
  const { kind, blockBytes, blocks, frameBytes, retireMs, reserve } = shape;
  setOption(descriptor, SOL_PACKET, PACKET_VERSION, kind === 'blocks' ? TPACKET_V3 : TPACKET_V2, 'PACKET_VERSION');
  setOption(descriptor, SOL_PACKET, PACKET_RESERVE, reserve, 'PACKET_RESERVE');
  // What is larger than a frame goes through the socket's queue, whole.
  if (kind === 'frames') setOption(descriptor, SOL_PACKET, PACKET_COPY_THRESH, 1, 'PACKET_COPY_THRESH');
  // struct tpacket_req3: block size, blocks, frame size, frames, retire milliseconds, private bytes, features. tpacket_req is its first four.
  const request = pin(32);
  request.int32.set([blockBytes, blocks, frameBytes, Math.floor(blockBytes / frameBytes) * blocks, retireMs]);
  setStructOption(descriptor, SOL_PACKET, PACKET_RX_RING, request.address, kind === 'blocks' ? 28 : 16, 'PACKET_RX_RING');
  retain(request);
}

/** Which ring a socket has that somebody opened; null: none. */
export function ringOf(descriptor: number): RingShape['kind'] | null {
  const version = pin(8);
  getStructOption(descriptor, SOL_PACKET, PACKET_VERSION, version.address, 4, 'PACKET_VERSION');
  if (version.int32[0] === TPACKET_V1) return null;
  return version.int32[0] === TPACKET_V3 ? 'blocks' : 'frames';
}

/**
 * Puts the socket's ring into memory of ours, at `address`, a multiple of the page size: what was there is gone. The length must be the ring's. The
 * mapping holds the socket: it is not closed before `unmapRing`.
 */
export function mapRing(descriptor: number, address: number, bytes: number): void {
  mapPages(bytes, { descriptor, offset: 0, flags: MAP_SHARED | MAP_FIXED, address }, 'mmap of a packet ring');
}

/** Puts zeros in its place: what still looks there sees those. */
export function unmapRing(address: number, bytes: number): void {
  coverPages(address, bytes, 'mmap over a packet ring');
}
