/**
 * Where a member stands: a 64-bit hash of its identity and the pool's seed, as two int32 lanes, and from it the member's
 * place in the turn order, its first slot (offset) and its step (skip).
 *
 * The hash is not keyed against an attacker: identities are backend addresses from a configuration file, not from packets.
 */
import { mix32, TWO_32 } from './mix.ts';

/** Rounds without input after the last word, so that it reaches every bit of both lanes. */
const FINAL_ROUNDS = 3;

/**
 * Hashes `identity` (any bytes, any length) with a 32-bit `seed` into `lanes[at]` and `lanes[at + 1]`.
 *
 * Words are little-endian, the last one padded with zero bytes; the length goes in before the final rounds. For given
 * input each round is a bijection of the 64-bit state, so identities of one length collide only by the chance of 2^−64.
 */
export function hashIdentity(identity: Uint8Array, seed: number, lanes: Int32Array, at: number): void {
  const length = identity.length;
  let a = (seed ^ 0x243f6a88) | 0;
  let b = Math.imul(seed, 0x9e3779b1) ^ 0x85a308d3;
  for (let i = 0; i < length; i += 4) {
    const word =
      i + 4 <= length
        ? identity[i] | (identity[i + 1] << 8) | (identity[i + 2] << 16) | (identity[i + 3] << 24)
        : identity[i] | ((identity[i + 1] ?? 0) << 8) | ((identity[i + 2] ?? 0) << 16);
    a = Math.imul(a ^ word, 0x85ebca6b);
    a ^= a >>> 15;
    b = Math.imul(b + a, 0xc2b2ae35);
    b ^= b >>> 13;
    a = (a + ((b << 9) | (b >>> 23))) | 0;
  }
  a ^= length;
  for (let round = 0; round < FINAL_ROUNDS; round++) {
    a = Math.imul(a, 0x85ebca6b);
    a ^= a >>> 15;
    b = Math.imul(b + a, 0xc2b2ae35);
    b ^= b >>> 13;
    a = (a + ((b << 9) | (b >>> 23))) | 0;
  }
  lanes[at] = a;
  lanes[at + 1] = b;
}

/**
 * First slot of a member, 0 to size − 1, from the first lane of its hash. Mixed once more, because the lanes themselves are
 * the turn order: without that, early turns would all begin at low slots. The product stays below 2^53, so it is exact.
 */
export function offsetOf(first: number, size: number): number {
  return Math.floor(((mix32(first ^ 0x13198a2e) >>> 0) * size) / TWO_32);
}

/** Step of a member, 1 to size − 1, from the second lane of its hash. */
export function skipOf(second: number, size: number): number {
  return 1 + Math.floor(((mix32(second ^ 0x03707344) >>> 0) * (size - 1)) / TWO_32);
}
