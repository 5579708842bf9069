/**
 * The two primitives that every deterministic hash of this room is made of. Both are bijections of 32 bits, so nothing that
 * goes in is lost; the multipliers are those found by the "hash prospector" search (C. Wellons, public domain).
 *
 * These functions decide which backend a flow goes to. Changing one of them moves every flow of every user: the golden
 * vectors in the tests forbid it.
 */

/** 2^32, to turn a 32-bit fraction into an index by an exact multiplication of doubles. */
export const TWO_32 = 4294967296;

/** Finalizer: int32 → int32, every input bit flips every output bit with probability close to one half. */
export function mix32(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return x ^ (x >>> 16);
}

/**
 * One word into a running hash: a bijection of `state` for a given word, and of the word for a given state. A single
 * multiplication, for speed; the constants matter more than it seems: 0xc2b2ae35 with a shift of 16 left sequential ports
 * and addresses up to 26 standard deviations from uniform, these none of 1,440 patterns above 3.2.
 */
export function absorb(state: number, word: number): number {
  const x = Math.imul(state ^ word, 0xac4c1b51);
  return x ^ (x >>> 15);
}
