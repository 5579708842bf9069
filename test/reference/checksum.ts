/**
 * The Internet checksum as RFC 1071 §1 says it, one byte at a time: the slow twin that src/wire/checksum.ts is held against. Shares
 * nothing with it.
 */

/** One's-complement sum of the bytes as big-endian 16-bit words, an odd last byte padded with zero, plus `initial`; 0–0xffff. */
export function naiveSum(bytes: Uint8Array, at: number, length: number, initial: number): number {
  let total = initial;
  for (let i = 0; i < length; i++) total += i % 2 === 0 ? bytes[at + i] * 256 : bytes[at + i];
  while (total > 0xffff) total = Math.floor(total / 65536) + (total % 65536);
  return total;
}

/** The value for the checksum field: complement of the sum. */
export function naiveChecksum(bytes: Uint8Array, at: number, length: number, initial = 0): number {
  return 0xffff - naiveSum(bytes, at, length, initial);
}

/** Sum of the pseudo-header of IPv4 (addresses of 4 bytes) or IPv6 (16 bytes). `length`: bytes of transport header and payload. */
export function naivePseudoSum(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): number {
  const high = Math.floor(length / 65536);
  const tail = Uint8Array.of(high >> 8, high & 255, (length >> 8) & 255, length & 255, 0, 0, 0, protocol);
  const addresses = naiveSum(destination, 0, destination.length, naiveSum(source, 0, source.length, 0));
  return naiveSum(tail, 0, tail.length, addresses);
}
