/**
 * The arithmetic of a train: how many segments a payload makes, how long each is, and why it may be refused. Nothing is written
 * here, so that an ingress can budget header records before it knows what they will hold.
 *
 *     payload   |  size  |  size  |  size  | last |        count = ⌈payload / size⌉, 1 ≤ last ≤ size
 *     segment   0        1        2        3
 *
 * Refusals are negative numbers where a count would be positive. docs/segmentation.md lists what each one catches, and what the
 * Linux kernel does with the same packet.
 */

interface RefusalEntry {
  readonly code: number;
  readonly word: string;
  /** One sentence for people. */
  readonly text: string;
}

/** gsoType: not a kind of segmentation, or not the one for this packet. */
export const REFUSED_TYPE = -1;
/** Segment size 0, or 65,535, which Linux keeps for itself (GSO_BY_FRAGS). */
export const REFUSED_SIZE = -2;
/** More segments than one super-packet may make. */
export const REFUSED_COUNT = -3;
/** A length field contradicts another one, or the frame. */
export const REFUSED_LENGTH = -4;
/** The checksum is to be completed elsewhere than in this packet's TCP or UDP header. */
export const REFUSED_PLACE = -5;
/** A finished checksum that is wrong, or UDP with a finished checksum. */
export const REFUSED_CHECKSUM = -6;
/** An IP fragment. */
export const REFUSED_FRAGMENT = -7;
/** An IPv6 extension header that can not be repeated in every segment. */
export const REFUSED_EXTENSION = -8;
/** The headers do not fit a header record, or the records do not fit the header area. */
export const REFUSED_ROOM = -9;
/** Said to be longer than a segment, though only its headers make it so: the payload fits one. */
export const REFUSED_SHORT = -10;

export const REFUSALS: readonly RefusalEntry[] = [
  { code: REFUSED_TYPE, word: 'type', text: 'the gso type is unknown, or does not fit the packet’s family and protocol' },
  { code: REFUSED_SIZE, word: 'size', text: 'the segment size is 0 or 65,535' },
  { code: REFUSED_COUNT, word: 'count', text: 'it would make more than 1,024 segments (UDP: 128)' },
  { code: REFUSED_LENGTH, word: 'length', text: 'a length field contradicts another one, or the frame' },
  { code: REFUSED_PLACE, word: 'place', text: 'the checksum to complete is not this packet’s TCP or UDP checksum' },
  { code: REFUSED_CHECKSUM, word: 'checksum', text: 'the checksum is finished and wrong, or finished at all (UDP)' },
  { code: REFUSED_FRAGMENT, word: 'fragment', text: 'it is an IP fragment' },
  { code: REFUSED_EXTENSION, word: 'extension', text: 'it has an IPv6 extension header that can not be repeated' },
  { code: REFUSED_ROOM, word: 'room', text: 'its headers are longer than a header record' },
  { code: REFUSED_SHORT, word: 'short', text: 'its payload fits one segment, and only its headers exceed the segment size' },
];

/**
 * Most segments of one TCP super-packet. 65,515 bytes at 64 per segment: below any segment size that a TCP of today agrees on
 * (Linux: TCP_MIN_MSS 88), so only a lie needs more.
 */
export const MAX_SEGMENTS = 1024;
/** Most segments of one UDP super-packet: Linux's own limit (UDP_MAX_SEGMENTS, include/linux/udp.h). */
export const MAX_DATAGRAMS = 128;

const GSO_BY_FRAGS = 0xffff;

/**
 * Segments that `payload` bytes make at `segmentSize` bytes each: 1 to `most`, or REFUSED_SIZE, REFUSED_COUNT. A payload that fits one
 * segment, the empty one included, makes one: it leaves as it came.
 */
export function planTrain(payload: number, segmentSize: number, most: number): number {
  if (segmentSize <= 0 || segmentSize >= GSO_BY_FRAGS) return REFUSED_SIZE;
  if (payload <= segmentSize) return payload < 0 ? REFUSED_LENGTH : 1;
  const count = ((payload + segmentSize - 1) / segmentSize) | 0;
  return count > most ? REFUSED_COUNT : count;
}

/** Payload bytes of the last of `count` segments. */
export function lastPayload(payload: number, segmentSize: number, count: number): number {
  return payload - (count - 1) * segmentSize;
}

/**
 * Segment size that cuts `payload` bytes into as few segments as `most` bytes per segment allow, all of nearly one length: 1,500 bytes at
 * most 1,468 make 750 + 750, not 1,468 + 32. Sizes differ by less than the number of segments. 0 when `most` or `payload` is not
 * positive.
 */
export function evenSegmentSize(payload: number, most: number): number {
  if (most <= 0 || payload <= 0) return 0;
  const count = ((payload + most - 1) / most) | 0;
  return ((payload + count - 1) / count) | 0;
}
