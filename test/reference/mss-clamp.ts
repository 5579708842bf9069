// The MSS clamp on whole packets, options taken apart into a list: the slow twin of src/pipeline/mss-clamp.ts. Shares nothing with it.
// Written from RFC 9293 §3.2, RFC 6691 and RFC 5925 §5.1.

import { naiveChecksum, naivePseudoSum } from './checksum.ts';

interface Option {
  readonly kind: number;
  /** Without kind and length; null for the options of one byte. */
  readonly data: readonly number[] | null;
}

/** The options of a TCP header, and the bytes behind the end of the list; null when they can not be read. */
function readOptions(bytes: readonly number[]): { options: Option[]; rest: readonly number[] } | null {
  const options: Option[] = [];
  let left = [...bytes];
  while (left.length > 0) {
    const kind = left[0];
    if (kind === 0) return { options, rest: left };
    if (kind === 1) {
      options.push({ kind, data: null });
      left = left.slice(1);
      continue;
    }
    const length = left.length < 2 ? 0 : left[1];
    if (length < 2 || length > left.length) return null;
    options.push({ kind, data: left.slice(2, length) });
    left = left.slice(length);
  }
  return { options, rest: [] };
}

/**
 * The IP packet (no extension headers) with every MSS of its TCP options at most `most`; itself when it is no SYN, has RST, or its options
 * must be left alone. Its checksum is right before and after, or, when `partial`, left alone.
 */
export function clampSlowly(packet: Uint8Array, most: number, partial = false): Uint8Array {
  const isIpv4 = packet[0] >> 4 === 4;
  const transport = isIpv4 ? (packet[0] & 15) * 4 : 40;
  const tcp = [...packet.slice(transport)];
  const isSyn = (tcp[13] & 2) !== 0 && (tcp[13] & 4) === 0;
  const headerLength = (tcp[12] >> 4) * 4;
  const read = readOptions(tcp.slice(20, headerLength));
  if (!isSyn || read === null) return packet;
  if (read.options.some(({ kind, data }) => kind === 29 || (kind === 2 && data?.length !== 2))) return packet;
  const lowered = read.options.flatMap(({ kind, data }) => {
    if (data === null) return [kind];
    if (kind !== 2) return [kind, data.length + 2, ...data];
    const mss = Math.min(data[0] * 256 + data[1], most);
    return [2, 4, Math.floor(mss / 256), mss % 256];
  });
  const clamped = Uint8Array.from([...tcp.slice(0, 20), ...lowered, ...read.rest, ...tcp.slice(headerLength)]);
  if (!partial) {
    clamped.set([0, 0], 16);
    const addresses = isIpv4 ? packet.slice(12, 20) : packet.slice(8, 40);
    const half = addresses.length / 2;
    const pseudo = naivePseudoSum(addresses.slice(0, half), addresses.slice(half), 6, clamped.length);
    const checksum = naiveChecksum(clamped, 0, clamped.length, pseudo);
    clamped.set([Math.floor(checksum / 256), checksum % 256], 16);
  }
  const out = Uint8Array.from(packet);
  out.set(clamped, transport);
  return out;
}
