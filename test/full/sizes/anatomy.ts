// An IP packet taken apart for the judge, and the small changes that the path makes to it. Shares nothing with src/.

import { naiveChecksum, naivePseudoSum, naiveSum } from '../../reference/checksum.ts';
import { clampSlowly } from '../../reference/mss-clamp.ts';

export const TCP = 6;
export const UDP = 17;

export const word = (bytes: Uint8Array, at: number) => bytes[at] * 256 + bytes[at + 1];

export function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 255;
}

/** The IP packet in a frame, without link header and padding, and where it begins. */
export function packetIn(frame: Uint8Array, isEthernet: boolean): { packet: Uint8Array; at: number } {
  let at = 0;
  if (isEthernet) {
    at = 12;
    while (word(frame, at) === 0x8100 || word(frame, at) === 0x88a8) at += 4;
    at += 2;
  }
  const length = frame[at] >> 4 === 4 ? word(frame, at + 2) : 40 + word(frame, at + 4);
  return { packet: frame.slice(at, at + length), at };
}

/** Where the transport header begins and what it is: all headers passed (RFC 8200 §4, RFC 4302 §2.2). */
export function transportOf(packet: Uint8Array): { at: number; protocol: number } {
  if (packet[0] >> 4 === 4) return { at: (packet[0] & 15) * 4, protocol: packet[9] };
  let protocol = packet[6];
  let at = 40;
  while ([0, 43, 44, 51, 60, 135, 139, 140].includes(protocol)) {
    const length = protocol === 44 ? 8 : protocol === 51 ? (packet[at + 1] + 2) * 4 : (packet[at + 1] + 1) * 8;
    protocol = packet[at];
    at += length;
  }
  return { at, protocol };
}

/** A fragment at offset 0 that others follow (RFC 791 §3.1, RFC 8200 §4.5). */
export function isFirstFragment(packet: Uint8Array): boolean {
  if (packet[0] >> 4 === 4) return (word(packet, 6) & 0x3fff) === 0x2000;
  let protocol = packet[6];
  for (let at = 40; [0, 43, 44, 51, 60, 135, 139, 140].includes(protocol); ) {
    if (protocol === 44) return (word(packet, at + 2) & 0xfff9) === 1;
    const length = protocol === 51 ? (packet[at + 1] + 2) * 4 : (packet[at + 1] + 1) * 8;
    protocol = packet[at];
    at += length;
  }
  return false;
}

/** The packet as it leaves this hop: TTL or hop limit one less, the IPv4 header checksum right again. */
export function hopped(packet: Uint8Array, hopDone: boolean): Uint8Array {
  const next = packet.slice();
  const isIpv4 = next[0] >> 4 === 4;
  if (!hopDone) next[isIpv4 ? 8 : 7]--;
  if (isIpv4) {
    setWord(next, 10, 0);
    setWord(next, 10, naiveChecksum(next, 0, (next[0] & 15) * 4));
  }
  return next;
}

/** The field that a device would complete: it holds a sum already, and all bytes behind are added. */
export function completed(packet: Uint8Array): Uint8Array {
  const { at, protocol } = transportOf(packet);
  const field = at + (protocol === TCP ? 16 : protocol === UDP ? 6 : 2);
  const whole = packet.slice();
  setWord(whole, field, naiveChecksum(packet, at, packet.length - at) || 0xffff);
  return whole;
}

/** Bytes of IP, extension, and TCP or UDP headers. */
export function headersOf(packet: Uint8Array): number {
  const { at, protocol } = transportOf(packet);
  return at + (protocol === TCP ? (packet[at + 12] >> 4) * 4 : 8);
}

/** Whether a TCP packet may be cut that nobody merged: docs/oversize.md. */
export function isSafeToCut(packet: Uint8Array): boolean {
  const { at, protocol } = transportOf(packet);
  if (protocol !== TCP || (packet[at + 13] & 0x26) !== 0 || (packet[at + 12] & 0x0e) !== 0) return false;
  const options = packet.subarray(at + 20, headersOf(packet));
  for (let here = 0; here < options.length && options[here] !== 0; ) {
    if (options[here] === 1) here++;
    else {
      const length = options[here + 1] ?? 0;
      if (options[here] === 19 || options[here] === 29 || length < 2 || here + length > options.length) return false;
      here += length;
    }
  }
  return true;
}

/** The TCP checksum's sum over header, payload and pseudo-header, modulo 0xffff: 0 when it is right. */
function residue(packet: Uint8Array, at: number): number {
  const [from, half] = packet[0] >> 4 === 4 ? [12, 4] : [8, 16];
  const [source, destination] = [packet.subarray(from, from + half), packet.subarray(from + half, from + 2 * half)];
  const length = packet.length - at;
  return naiveSum(packet, at, length, naivePseudoSum(source, destination, TCP, length)) % 0xffff;
}

/**
 * The packet with its MSS options lowered to `most`, 0 for none. A checksum that covers them stays as right, or as wrong, as it was; `partial`:
 * it does not cover them.
 */
export function clamped(packet: Uint8Array, most: number, partial: boolean): Uint8Array {
  const { at, protocol } = transportOf(packet);
  if (most === 0 || protocol !== TCP || (packet[at + 13] & 0x06) !== 0x02) return packet;
  const network = packet[0] >> 4 === 4 ? at : 40;
  // The twin knows no extension headers, and needs no payload.
  const plain = Uint8Array.from([...packet.subarray(0, network), ...packet.subarray(at, headersOf(packet))]);
  const lowered = clampSlowly(plain, most, true);
  if (Buffer.compare(lowered, plain) === 0) return packet;
  const out = packet.slice();
  out.set(lowered.subarray(network), at);
  if (partial) return out;
  const before = residue(packet, at);
  setWord(out, at + 16, 0);
  setWord(out, at + 16, (before - residue(out, at) + 0xffff) % 0xffff);
  return out;
}
