/** Unsigned 64-bit arithmetic for hashes that are computed when a table is built, never per packet. */
export const MASK_64 = 0xffffffffffffffffn;

/** Rotates left. */
export function turn64(word: bigint, by: number): bigint {
  return ((word << BigInt(by)) | (word >> BigInt(64 - by))) & MASK_64;
}
