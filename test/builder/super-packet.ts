// Super-packets from a plain description, so that a random generator and a shrinking property test make the same ones. Their checksum is
// partial (virtio-net NEEDS_CSUM) unless the description says otherwise.

import type { Random } from '../full/random.ts';
import { naiveChecksum } from '../reference/checksum.ts';
import { fillPartialChecksum, fillTransportChecksum, segmentSlowly, transportOf } from '../reference/segment.ts';
import { ip } from './addresses.ts';
import { packet } from './packet.ts';

export type Extension = 'hop-by-hop' | 'routing' | 'destination';

export interface Shape {
  readonly family: 4 | 6;
  readonly protocol: 6 | 17;
  /** Bytes; cut to what an IP packet can carry. */
  readonly payload: number;
  readonly segmentSize: number;
  /** TCP flag byte. */
  readonly flags: number;
  /** The four bits between data offset and flags; the lowest is AE (RFC 9768). */
  readonly reserved: number;
  /** TCP options, cut to a multiple of 4 and at most 40 bytes. */
  readonly tcpOptions: Uint8Array;
  /** Words of IPv4 options (no-operations), 0–10. */
  readonly ipOptionWords: number;
  readonly extensions: readonly { readonly kind: Extension; readonly units: number }[];
  readonly identification: number;
  readonly df: boolean;
  readonly trafficClass: number;
  readonly ttl: number;
  readonly sequence: number;
  /** The checksum is finished, not partial. */
  readonly finished: boolean;
  /** The segment whose checksum shall come out as zero; −1 for none. */
  readonly zeroAt: number;
  readonly seed: number;
}

export const SOURCE4 = ip('10.1.0.1');
export const DESTINATION4 = ip('10.9.0.1');
export const SOURCE6 = ip('fd00:1::1');
export const DESTINATION6 = ip('fd00:9::1');

/** Content without a pattern (a shifted or repeated slice differs), quick to make. */
export function content(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed | 1;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** As many of the bytes as a TCP header can hold: whole words, at most 40. What they say is nobody's business on this path. */
export function plainOptions(bytes: Uint8Array): Uint8Array {
  return bytes.slice(0, Math.min(40, bytes.length - (bytes.length % 4)));
}

function headersOf(shape: Shape): Uint8Array {
  const { family, protocol, extensions } = shape;
  let layers = packet();
  if (family === 4) {
    layers = layers.ipv4({
      src: SOURCE4,
      dst: DESTINATION4,
      ttl: shape.ttl,
      tos: shape.trafficClass,
      id: shape.identification,
      df: shape.df,
      options: new Uint8Array(shape.ipOptionWords * 4).fill(1),
    });
  } else {
    layers = layers.ipv6({
      src: SOURCE6,
      dst: DESTINATION6,
      hopLimit: shape.ttl,
      trafficClass: shape.trafficClass,
      flowLabel: shape.identification,
    });
    for (const { kind, units } of extensions) layers = layers.extension(kind, { units });
  }
  if (protocol === 17) return layers.udp().bytes();
  return layers.tcp({ seq: shape.sequence, flags: shape.flags, options: plainOptions(shape.tcpOptions) }).bytes();
}

/** The packet that `shape` describes. */
export function superPacket(shape: Shape): Uint8Array {
  const headers = headersOf(shape);
  // An IPv4 packet has 65,535 bytes in all, an IPv6 packet 40 more.
  const room = (shape.family === 4 ? 65535 : 65575) - headers.length;
  const bytes = new Uint8Array(headers.length + Math.min(shape.payload, room));
  const view = new DataView(bytes.buffer);
  bytes.set(headers);
  bytes.set(content(bytes.length - headers.length, shape.seed), headers.length);
  const { at, protocol } = transportOf(bytes);
  if (shape.family === 4) {
    view.setUint16(2, bytes.length);
    view.setUint16(10, 0);
    view.setUint16(10, naiveChecksum(bytes, 0, at));
  } else {
    view.setUint16(4, bytes.length - 40);
  }
  if (protocol === 6) bytes[at + 12] |= shape.reserved & 15;
  else view.setUint16(at + 4, bytes.length - at);
  if (shape.zeroAt >= 0) makeZero(bytes, headers.length, shape);
  if (shape.finished) fillTransportChecksum(bytes);
  else fillPartialChecksum(bytes);
  return bytes;
}

/** Changes two payload bytes so that the checksum of one segment sums to zero. */
function makeZero(bytes: Uint8Array, headerLength: number, shape: Shape): void {
  const at = headerLength + shape.zeroAt * shape.segmentSize;
  if (at + 2 > bytes.length || shape.segmentSize < 2) return;
  const view = new DataView(bytes.buffer);
  const segment = segmentSlowly(bytes, shape.segmentSize)[shape.zeroAt];
  const { at: transportAt, protocol } = transportOf(segment);
  const checksum = new DataView(segment.buffer).getUint16(transportAt + (protocol === 6 ? 16 : 6));
  const raised = view.getUint16(at) + checksum;
  view.setUint16(at, raised > 0xffff ? raised - 0xffff : raised);
}

const EXTENSIONS: readonly Extension[] = ['hop-by-hop', 'routing', 'destination'];

/** What real senders put into the options of a data segment: timestamps, SACK blocks, MPTCP; and any bytes. */
function tcpOptions(random: Random): Uint8Array {
  switch (random.below(5)) {
    case 0:
      return Uint8Array.of(1, 1, 8, 10, ...random.fill(new Uint8Array(8)));
    case 1:
      return Uint8Array.of(1, 1, 5, 18, ...random.fill(new Uint8Array(16)));
    case 2:
      return Uint8Array.of(30, 20, 0x20, 5, ...random.fill(new Uint8Array(16)));
    case 3:
      return random.fill(new Uint8Array(4 * random.below(11)));
    default:
      return new Uint8Array(0);
  }
}

function extensions(random: Random): { kind: Extension; units: number }[] {
  const kinds = EXTENSIONS.filter(() => random.chance(2));
  // Linux forwards no hop-by-hop header with more than 7 bytes of padding (net/ipv6/exthdrs.c ip6_parse_tlv).
  return kinds.map((kind) => ({ kind, units: kind === 'destination' ? 1 + random.below(3) : 1 }));
}

/** Segment sizes and lengths as they occur, with a preference for the edges: whole multiples, one byte more or less, odd, the limit. */
export function randomShape(random: Random, family: 4 | 6, protocol: 6 | 17): Shape {
  const segmentSize = random.chance(3)
    ? random.pick([536, 1220, 1360, 1400, 1428, 1440, 1448, 1452, 1460, 8948, 9000])
    : 88 + random.below(8913);
  const most = Math.min(65_600, segmentSize * (protocol === 17 ? 128 : 1024));
  const multiple = segmentSize * (1 + random.below(Math.max(1, Math.floor(most / segmentSize))));
  const payload = random.pick([
    1 + random.below(most),
    1 + random.below(Math.min(most, 8 * segmentSize)),
    Math.min(most, multiple),
    Math.min(most, multiple + 1),
    Math.max(1, multiple - 1),
    random.chance(4) ? most : 1 + random.below(segmentSize),
  ]);
  return {
    family,
    protocol,
    payload,
    segmentSize,
    flags: random.chance(3) ? 0x10 : random.below(256),
    reserved: random.chance(4) ? random.below(16) : 0,
    tcpOptions: tcpOptions(random),
    ipOptionWords: random.chance(8) ? random.below(11) : 0,
    extensions: random.chance(4) ? extensions(random) : [],
    identification: random.pick([0, 65535, random.below(65536)]),
    df: random.chance(2),
    trafficClass: random.below(256),
    ttl: 2 + random.below(253),
    sequence: random.chance(8) ? 0xffffffff - random.below(70_000) : random.next(),
    finished: protocol === 6 && random.chance(6),
    zeroAt: random.chance(12) ? random.below(3) : -1,
    seed: random.next(),
  };
}
