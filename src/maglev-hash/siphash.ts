/**
 * SipHash-c-d (Aumasson, Bernstein 2012), 64 bits in and out as pairs of int32: what GLB (2-4) and Linux's hsiphash (1-3, on 64-bit
 * machines) steer by. Not for secrets of ours: the flow table's fingerprint is in half-siphash.ts.
 *
 *     message, 32-bit words little-endian   | w0 | w1 | w2 | … | 0 |       read in blocks of two words, the last one
 *                                           |<-- length bytes ->|          filled with zero and, in its top byte, the length
 */

/**
 * Hashes the first `length` bytes of `message` under `key` (four words, the 16 key bytes little-endian) with `c` rounds a block and `d`
 * at the end. Bytes of `message` behind `length`, up to a multiple of eight, must be zero. Writes the low word of the result to `out[0]`
 * and the high one to `out[1]`. No allocation.
 */
export function sipHash(key: Int32Array, message: Int32Array, length: number, c: number, d: number, out: Int32Array): void {
  // "somepseudorandomlygeneratedbytes", as the paper has it.
  let a = key[0] ^ 0x70736575;
  let aHigh = key[1] ^ 0x736f6d65;
  let b = key[2] ^ 0x6e646f6d;
  let bHigh = key[3] ^ 0x646f7261;
  let e = key[0] ^ 0x6e657261;
  let eHigh = key[1] ^ 0x6c796765;
  let f = key[2] ^ 0x79746573;
  let fHigh = key[3] ^ 0x74656462;
  const blocks = (length >> 3) + 1;
  for (let block = 0; block <= blocks; block++) {
    let low = 0;
    let high = 0;
    let rounds = d;
    if (block < blocks) {
      rounds = c;
      low = message[2 * block] | 0;
      high = message[2 * block + 1] | 0;
      if (block === blocks - 1) high |= length << 24;
      f ^= low;
      fHigh ^= high;
    } else {
      e ^= 0xff;
    }
    for (let round = 0; round < rounds; round++) {
      // v0 += v1; v1 <<<= 13; v1 ^= v0; v0 <<<= 32
      let sum = (a + b) | 0;
      let sumHigh = (aHigh + bHigh + (sum >>> 0 < b >>> 0 ? 1 : 0)) | 0;
      let turned = (b << 13) | (bHigh >>> 19);
      bHigh = ((bHigh << 13) | (b >>> 19)) ^ sumHigh;
      b = turned ^ sum;
      a = sumHigh;
      aHigh = sum;
      // v2 += v3; v3 <<<= 16; v3 ^= v2
      e = (e + f) | 0;
      eHigh = (eHigh + fHigh + (e >>> 0 < f >>> 0 ? 1 : 0)) | 0;
      turned = (f << 16) | (fHigh >>> 16);
      fHigh = ((fHigh << 16) | (f >>> 16)) ^ eHigh;
      f = turned ^ e;
      // v0 += v3; v3 <<<= 21; v3 ^= v0
      a = (a + f) | 0;
      aHigh = (aHigh + fHigh + (a >>> 0 < f >>> 0 ? 1 : 0)) | 0;
      turned = (f << 21) | (fHigh >>> 11);
      fHigh = ((fHigh << 21) | (f >>> 11)) ^ aHigh;
      f = turned ^ a;
      // v2 += v1; v1 <<<= 17; v1 ^= v2; v2 <<<= 32
      sum = (e + b) | 0;
      sumHigh = (eHigh + bHigh + (sum >>> 0 < b >>> 0 ? 1 : 0)) | 0;
      turned = (b << 17) | (bHigh >>> 15);
      bHigh = ((bHigh << 17) | (b >>> 15)) ^ sumHigh;
      b = turned ^ sum;
      e = sumHigh;
      eHigh = sum;
    }
    a ^= low;
    aHigh ^= high;
  }
  out[0] = a ^ b ^ e ^ f;
  out[1] = aHigh ^ bHigh ^ eHigh ^ fHigh;
}

/** The four words of a key of 16 bytes. Throws RangeError for any other length. */
export function sipKey(bytes: Uint8Array): Int32Array {
  if (bytes.length !== 16) throw new RangeError(`a SipHash key has 16 bytes, not ${bytes.length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  return Int32Array.from([0, 4, 8, 12], (at) => view.getInt32(at, true));
}
