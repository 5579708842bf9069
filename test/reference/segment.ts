// Segmentation as the documents say it, whole packets at a time and byte by byte: the slow twin of src/pipeline/segment.ts. Shares
// nothing with it. Written from RFC 9293, RFC 768, RFC 791, RFC 8200 and Linux's Documentation/networking/segmentation-offloads.rst.

import { naiveChecksum, naivePseudoSum } from './checksum.ts';

function word(bytes: Uint8Array, at: number): number {
  return bytes[at] * 256 + bytes[at + 1];
}

function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = Math.floor(value / 256) % 256;
  bytes[at + 1] = value % 256;
}

/** Where the transport header of a whole IP packet begins. IPv6: hop-by-hop (0), routing (43) and destination options (60) are passed. */
export function transportOf(packet: Uint8Array): { at: number; protocol: number } {
  if (packet[0] >> 4 === 4) return { at: (packet[0] % 16) * 4, protocol: packet[9] };
  let protocol = packet[6];
  let at = 40;
  while (protocol === 0 || protocol === 43 || protocol === 60) {
    protocol = packet[at];
    at += (packet[at + 1] + 1) * 8;
  }
  return { at, protocol };
}

/** Source and destination of an IP packet. */
function addresses(packet: Uint8Array): [Uint8Array, Uint8Array] {
  return packet[0] >> 4 === 4 ? [packet.slice(12, 16), packet.slice(16, 20)] : [packet.slice(8, 24), packet.slice(24, 40)];
}

/** Fills in the TCP or UDP checksum of a whole IP packet, whatever stands there. */
export function fillTransportChecksum(packet: Uint8Array): void {
  const { at, protocol } = transportOf(packet);
  const field = at + (protocol === 6 ? 16 : 6);
  setWord(packet, field, 0);
  const length = packet.length - at;
  const value = naiveChecksum(packet, at, length, naivePseudoSum(...addresses(packet), protocol, length));
  setWord(packet, field, protocol === 17 && value === 0 ? 0xffff : value);
}

/** The sum of the pseudo-header, as a sender leaves it in the checksum field of a packet that its device shall complete. */
export function fillPartialChecksum(packet: Uint8Array): void {
  const { at, protocol } = transportOf(packet);
  setWord(packet, at + (protocol === 6 ? 16 : 6), naivePseudoSum(...addresses(packet), protocol, packet.length - at));
}

/** Every segment of a right TCP or UDP packet, each a whole IP packet, its payload cut at `size` bytes. */
export function segmentSlowly(packet: Uint8Array, size: number): Uint8Array[] {
  const { at, protocol } = transportOf(packet);
  const headers = packet.slice(0, at + (protocol === 6 ? (packet[at + 12] >> 4) * 4 : 8));
  const payload = packet.slice(headers.length);
  if (payload.length <= size) return [completed(packet)];
  const sequence = word(packet, at + 4) * 65536 + word(packet, at + 6);
  const segments: Uint8Array[] = [];
  for (let from = 0; from < payload.length; from += size) {
    const part = payload.slice(from, from + size);
    const isLast = from + size >= payload.length;
    const segment = new Uint8Array(headers.length + part.length);
    segment.set(headers, 0);
    segment.set(part, headers.length);
    if (segment[0] >> 4 === 4) {
      setWord(segment, 2, segment.length);
      setWord(segment, 4, (word(headers, 4) + from / size) % 65536);
      setWord(segment, 10, 0);
      setWord(segment, 10, naiveChecksum(segment, 0, at));
    } else {
      setWord(segment, 4, segment.length - 40);
    }
    if (protocol === 6) {
      const here = (sequence + from) % 4294967296;
      setWord(segment, at + 4, Math.floor(here / 65536));
      setWord(segment, at + 6, here % 65536);
      // FIN 0x01 and PSH 0x08 tell of the end, CWR 0x80 of the beginning.
      if (!isLast) segment[at + 13] &= 0xf6;
      if (from > 0) segment[at + 13] &= 0x7f;
    } else {
      setWord(segment, at + 4, segment.length - at);
    }
    fillTransportChecksum(segment);
    segments.push(segment);
  }
  return segments;
}

/** A packet that needs no cutting, with its checksum completed. Linux writes 0xffff for 0 there, TCP or not. */
function completed(packet: Uint8Array): Uint8Array {
  const whole = packet.slice();
  const { at, protocol } = transportOf(whole);
  fillTransportChecksum(whole);
  const field = at + (protocol === 6 ? 16 : 6);
  if (word(whole, field) === 0) setWord(whole, field, 0xffff);
  return whole;
}
