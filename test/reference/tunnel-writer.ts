// The writing half of tunnel.ts: puts an inner packet into any encapsulation, a byte at a time. Shares nothing with src/.

import { naiveChecksum, naivePseudoSum } from './checksum.ts';
import type { OuterFields, RemoteChecksum, TunnelKind } from './tunnel.ts';

export interface TunnelWay {
  readonly kind: TunnelKind;
  /** 4 or 16 bytes, both of one family. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** Ignored by ipip and gre. Defaults 49152 and 6080. */
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  /** Of UDP, or of GRE. Default none. */
  readonly checksum?: 'none' | 'full';
  /** GUE variant 0 alone: the inner checksum is left to the receiver; its field holds the pseudo-header's sum (see `withPartialChecksum`). */
  readonly remoteChecksum?: RemoteChecksum;
  /** GUE variant 0 alone: a multiple of 4 bytes behind its fields. */
  readonly privateData?: Uint8Array;
  /** Outer header fields; a function is given the inner packet. What it leaves out: TTL 64, traffic class copied, DF, identification 0, label 0. */
  readonly outer?: Partial<OuterFields> | ((inner: Uint8Array) => Partial<OuterFields>);
}

const high = (value: number) => Math.floor(value / 256) % 256;
const low = (value: number) => value % 256;

/** DSCP and ECN of an IP packet. */
export function trafficClassOf(packet: Uint8Array): number {
  return packet[0] >> 4 === 4 ? packet[1] : (packet[0] % 16) * 16 + Math.floor(packet[1] / 16);
}

/** The packet one hop later: TTL or hop limit one less, the IPv4 header checksum made anew. */
export function afterHop(packet: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(packet);
  if (copy[0] >> 4 === 6) {
    copy[7]--;
    return copy;
  }
  copy[8]--;
  return withHeaderChecksum(copy);
}

function withHeaderChecksum(packet: Uint8Array): Uint8Array {
  packet[10] = 0;
  packet[11] = 0;
  const sum = naiveChecksum(packet, 0, (packet[0] % 16) * 4);
  packet[10] = high(sum);
  packet[11] = low(sum);
  return packet;
}

/**
 * A TCP or UDP packet (without extension headers; IPv4 options are fine) as its sender's stack hands it to a device that sums: the field
 * holds the pseudo-header's sum alone. Also says where the summing begins and where its result goes.
 */
export function withPartialChecksum(packet: Uint8Array): { packet: Uint8Array; remoteChecksum: RemoteChecksum } {
  const six = packet[0] >> 4 === 6;
  const start = six ? 40 : (packet[0] % 16) * 4;
  const protocol = six ? packet[6] : packet[9];
  if (protocol !== 6 && protocol !== 17) throw new Error(`protocol ${protocol} has no checksum to leave to others`);
  const offset = start + (protocol === 6 ? 16 : 6);
  const [source, destination] = six
    ? [packet.subarray(8, 24), packet.subarray(24, 40)]
    : [packet.subarray(12, 16), packet.subarray(16, 20)];
  const sum = naivePseudoSum(source, destination, protocol, packet.length - start);
  const copy = Uint8Array.from(packet);
  copy[offset] = high(sum);
  copy[offset + 1] = low(sum);
  return { packet: copy, remoteChecksum: { start, offset } };
}

/** The whole outer packet around `inner`, which is taken as it shall lie in the tunnel (its hop already counted). */
export function encodeTunnel(inner: Uint8Array, way: TunnelWay): Uint8Array {
  const six = inner[0] >> 4 === 6;
  const protocolInside = six ? 41 : 4;
  switch (way.kind) {
    case 'ipip':
      return outerPacket(protocolInside, inner, inner, way);
    case 'gre':
      return outerPacket(47, greHeaderAnd(inner, six ? 0x86dd : 0x0800, way), inner, way);
    case 'gue':
      return outerPacket(17, datagram([...gueHeader(protocolInside, way), ...inner], way), inner, way);
    default:
      return outerPacket(17, datagram([...inner], way), inner, way);
  }
}

function gueHeader(protocol: number, way: TunnelWay): number[] {
  const fields: number[] = [];
  if (way.remoteChecksum !== undefined) {
    const { start, offset } = way.remoteChecksum;
    fields.push(0x80, 0, 0, 0, high(start), low(start), high(offset), low(offset));
  }
  const flags = fields.length > 0 ? 1 : 0;
  fields.push(...(way.privateData ?? []));
  if (fields.length % 4 !== 0 || fields.length > 31 * 4) throw new Error(`${fields.length} bytes of GUE fields`);
  return [fields.length / 4, protocol, 0, flags, ...fields];
}

function greHeaderAnd(inner: Uint8Array, type: number, way: TunnelWay): Uint8Array {
  if (way.checksum !== 'full') return Uint8Array.from([0, 0, high(type), low(type), ...inner]);
  const bytes = Uint8Array.from([0x80, 0, high(type), low(type), 0, 0, 0, 0, ...inner]);
  const sum = naiveChecksum(bytes, 0, bytes.length);
  bytes[4] = high(sum);
  bytes[5] = low(sum);
  return bytes;
}

function datagram(payload: readonly number[], way: TunnelWay): Uint8Array {
  const length = payload.length + 8;
  if (length > 65535) throw new Error(`a UDP datagram of ${length} bytes`);
  const from = way.sourcePort ?? 49152;
  const to = way.destinationPort ?? 6080;
  const bytes = Uint8Array.from([high(from), low(from), high(to), low(to), high(length), low(length), 0, 0, ...payload]);
  if (way.checksum !== 'full') return bytes;
  // RFC 768: a sum of 0 is sent as ffff, because 0 says that there is none.
  const sum = naiveChecksum(bytes, 0, length, naivePseudoSum(way.source, way.destination, 17, length)) || 0xffff;
  bytes[6] = high(sum);
  bytes[7] = low(sum);
  return bytes;
}

function outerPacket(protocol: number, payload: Uint8Array, inner: Uint8Array, way: TunnelWay): Uint8Array {
  const given = typeof way.outer === 'function' ? way.outer(inner) : (way.outer ?? {});
  const trafficClass = given.trafficClass ?? trafficClassOf(inner);
  const ttl = given.ttl ?? 64;
  if (way.destination.length === 16) {
    const label = given.flowLabel ?? 0;
    if (payload.length > 65535) throw new Error(`an IPv6 payload of ${payload.length} bytes`);
    return Uint8Array.from([
      ...[0x60 + Math.floor(trafficClass / 16), (trafficClass % 16) * 16 + Math.floor(label / 65536), high(label), low(label)],
      ...[high(payload.length), low(payload.length), protocol, ttl],
      ...way.source,
      ...way.destination,
      ...payload,
    ]);
  }
  const total = payload.length + 20;
  if (total > 65535) throw new Error(`an IPv4 packet of ${total} bytes`);
  const identification = given.identification ?? 0;
  const fragment = (given.dontFragment ?? true) ? 0x40 : 0;
  return withHeaderChecksum(
    Uint8Array.from([
      ...[0x45, trafficClass, high(total), low(total), high(identification), low(identification), fragment, 0],
      ...[ttl, protocol, 0, 0],
      ...way.source,
      ...way.destination,
      ...payload,
    ]),
  );
}
