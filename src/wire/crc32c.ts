/** CRC32c (Castagnoli, reflected polynomial 0x82f63b78; RFC 9260 Appendix A), a byte at a time: for the few packets that need it. */

const POLYNOMIAL = 0x82f63b78 | 0;

const table = new Int32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ POLYNOMIAL;
  table[byte] = value;
}

/** The register after the bytes from `from` to `to` of `view`; it starts at −1, and the checksum is its complement. int32 in and out. */
export function crc32c(view: DataView, from: number, to: number, register: number): number {
  let crc = register;
  for (let at = from; at < to; at++) crc = table[(crc ^ view.getUint8(at)) & 0xff] ^ (crc >>> 8);
  return crc;
}
