/** Bytes that both ends of a transfer can make: deterministic, and different everywhere, so that a lost, doubled or swapped piece shows. */
import { createHash } from 'node:crypto';

export const CHUNK = 65536;

/** `length` bytes in chunks of at most CHUNK: xorshift32 (Marsaglia 2003) from a fixed start, little-endian. */
export function* content(length: number): Generator<Uint8Array> {
  let state = 0x6775652d;
  for (let left = length; left > 0; left -= CHUNK) {
    const bytes = new Uint8Array(CHUNK);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < CHUNK; at += 4) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      view.setInt32(at, state, true);
    }
    yield left < CHUNK ? bytes.subarray(0, left) : bytes;
  }
}

/** SHA-256 of `content(length)` as 64 hex digits. */
export function contentHash(length: number): string {
  const hash = createHash('sha256');
  for (const chunk of content(length)) hash.update(chunk);
  return hash.digest('hex');
}
