// Client packets, right in every byte, written from the RFCs and on their own. Mutation starts from these.

import { naiveChecksum, naivePseudoSum, naiveSum } from '../reference/checksum.ts';
import type { Random } from './random.ts';

export const VIP4 = Uint8Array.of(192, 0, 2, 1);
export const VIP6 = Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);

export interface ClientPacket {
  readonly bytes: Uint8Array;
  readonly family: 4 | 6;
  /** Where TCP or UDP begins. */
  readonly transportAt: number;
  readonly protocol: 6 | 17;
  /** The transport checksum holds only the pseudo-header sum, as a local sender's frame has it (virtio-net NEEDS_CSUM). */
  readonly partial: boolean;
}

export interface Wish {
  readonly family: 4 | 6;
  readonly protocol: 6 | 17;
  readonly payload: number;
  readonly partial?: boolean;
  /** IPv4 options or an IPv6 hop-by-hop header. */
  readonly options?: boolean;
  readonly port?: number;
}

/** A packet from a random client to the service of its family. */
export function clientPacket(random: Random, wish: Wish): ClientPacket {
  const { family, protocol, payload } = wish;
  const optionBytes = wish.options ? 8 : 0;
  const transportAt = (family === 4 ? 20 : 40) + optionBytes;
  const transportHeader = protocol === 6 ? 20 : 8;
  const length = transportAt + transportHeader + payload;
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  random.fill(bytes.subarray(transportAt + transportHeader));
  const source =
    family === 4 ? Uint8Array.of(198, 51, 100, 0) : Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  random.fill(source.subarray(source.length - (family === 4 ? 1 : 8)));
  const destination = family === 4 ? VIP4 : VIP6;
  if (family === 4) {
    view.setUint8(0, 0x45 + optionBytes / 4);
    view.setUint8(1, random.below(256));
    view.setUint16(2, length);
    view.setUint16(4, random.below(65536));
    view.setUint16(6, random.chance(2) ? 0x4000 : 0);
    view.setUint8(8, 2 + random.below(254));
    view.setUint8(9, protocol);
    bytes.set(source, 12);
    bytes.set(destination, 16);
    // Option area: no-operations (RFC 791 §3.1).
    bytes.fill(1, 20, transportAt);
    view.setUint16(10, naiveChecksum(bytes, 0, transportAt));
  } else {
    view.setUint32(0, 0x60000000 + random.below(0x10000000));
    view.setUint16(4, length - 40);
    view.setUint8(6, wish.options ? 0 : protocol);
    view.setUint8(7, 2 + random.below(254));
    bytes.set(source, 8);
    bytes.set(destination, 24);
    // Hop-by-hop: next header, length 0 (8 bytes), PadN of 4 (RFC 8200 §4.3).
    if (wish.options) bytes.set([protocol, 0, 1, 4, 0, 0, 0, 0], 40);
  }
  view.setUint16(transportAt, 1024 + random.below(60000));
  view.setUint16(transportAt + 2, wish.port ?? 443);
  const pseudo = naivePseudoSum(source, destination, protocol, length - transportAt);
  let checksumAt = transportAt + 6;
  if (protocol === 6) {
    view.setUint32(transportAt + 4, random.next());
    view.setUint32(transportAt + 8, random.next());
    view.setUint8(transportAt + 12, 0x50);
    view.setUint8(transportAt + 13, random.pick([0x02, 0x10, 0x18, 0x11, 0x04]));
    view.setUint16(transportAt + 14, random.below(65536));
    checksumAt = transportAt + 16;
  } else {
    view.setUint16(transportAt + 4, length - transportAt);
  }
  if (wish.partial) {
    view.setUint16(checksumAt, pseudo);
  } else {
    const sum = naiveSum(bytes, transportAt, length - transportAt, pseudo);
    view.setUint16(checksumAt, protocol === 17 && sum === 0xffff ? 0xffff : 0xffff - sum);
  }
  return { bytes, family, transportAt, protocol, partial: wish.partial ?? false };
}

/** The packet as it must arrive at the worker: one hop further when the director is a hop, and its checksum complete. */
export function asForwarded(packet: ClientPacket, hop: boolean): Uint8Array {
  const bytes = packet.bytes.slice();
  const view = new DataView(bytes.buffer);
  const { transportAt, family, protocol } = packet;
  if (hop) {
    bytes[family === 4 ? 8 : 7]--;
    if (family === 4) {
      view.setUint16(10, 0);
      view.setUint16(10, naiveChecksum(bytes, 0, transportAt));
    }
  }
  if (packet.partial) {
    // The field already holds the pseudo-header's sum, so the sum over the segment is the whole sum. A zero is written in its other
    // form for TCP too, as skb_checksum_help() of net/core/dev.c does (CSUM_MANGLED_0): both verify.
    const sum = naiveSum(bytes, transportAt, bytes.length - transportAt, 0);
    view.setUint16(transportAt + (protocol === 6 ? 16 : 6), sum === 0xffff ? 0xffff : 0xffff - sum);
  }
  return bytes;
}
