/**
 * Katran's ring (its CHHelpers, MaglevHash and MaglevHashV2): the same backends in the same order give the same ring, so that a Katran and
 * this director can stand behind one router. Facts: docs/peer-tables.md.
 *
 *     try t of a backend:  slot = (offset + t · skip) modulo size, the sum in 32 bits
 *     turns, V1:  in order; a backend's first turn takes as many slots as its weight, each later one a single slot
 *     turns, V2:  in order; weights add up, and a backend takes a slot when its sum reaches the largest weight, which is taken off
 */
import { EMPTY_SLOT, MAX_MEMBERS, MAX_WEIGHT } from '../permutation.ts';
import { MASK_64, turn64 } from './word64.ts';

/** The size that Katran is built with. */
export const KATRAN_RING_SIZE = 65537;
const OFFSET_SEED = 0n;
const OFFSET_WORD = 42n;
const SKIP_SEED = 2307n;
const SKIP_WORD = 2718281828n;

export interface KatranMember {
  /** 64 bits: `katranIdentity` of its address. */
  readonly hash: bigint;
  /** 0–65,535; 0 takes no part. */
  readonly weight: number;
}

function scramble(word: bigint): bigint {
  let x = word;
  x = ((x ^ (x >> 33n)) * 0xff51afd7ed558ccdn) & MASK_64;
  x = ((x ^ (x >> 33n)) * 0xc4ceb9fe1a85ec53n) & MASK_64;
  return x ^ (x >> 33n);
}

/** MurmurHash3 x64 (Appleby, public domain) of the 16 bytes `first`, `second` (little-endian): the first 64 bits of the result. */
export function murmur64(first: bigint, second: bigint, seed: bigint): bigint {
  const c1 = 0x87c37b91114253d5n;
  const c2 = 0x4cf5ad432745937fn;
  let a = seed ^ ((turn64((first * c1) & MASK_64, 31) * c2) & MASK_64);
  a = ((turn64(a, 27) + seed) * 5n + 0x52dce729n) & MASK_64;
  let b = seed ^ ((turn64((second * c2) & MASK_64, 33) * c1) & MASK_64);
  b = ((turn64(b, 31) + a) * 5n + 0x38495ab5n) & MASK_64;
  a ^= 16n;
  b ^= 16n;
  a = (a + b) & MASK_64;
  b = (b + a) & MASK_64;
  return (scramble(a) + scramble(b)) & MASK_64;
}

/** Where a backend's tries begin, and how far apart they are. */
export function katranPermutation(hash: bigint, size: number): { offset: number; skip: number } {
  return {
    offset: Number(murmur64(hash, OFFSET_WORD, OFFSET_SEED) % BigInt(size)),
    skip: Number(murmur64(hash, SKIP_WORD, SKIP_SEED) % BigInt(size - 1)) + 1,
  };
}

/**
 * Katran's ring: slot → index in `members` as given, whose ORDER counts; EMPTY_SLOT everywhere when no weight is above 0. `size`:
 * KATRAN_RING_SIZE unless Katran was built with another prime. Throws RangeError for too many members or a weight out of range.
 */
export function buildKatranRing(members: readonly KatranMember[], size: number, variant: 'v1' | 'v2'): Uint16Array {
  if (members.length > MAX_MEMBERS) throw new RangeError(`a ring takes at most ${MAX_MEMBERS} members, not ${members.length}`);
  const ring = new Uint16Array(size).fill(EMPTY_SLOT);
  const owner: number[] = [];
  members.forEach(({ weight }, i) => {
    if (!Number.isInteger(weight) || weight < 0 || weight > MAX_WEIGHT) {
      throw new RangeError(`member ${i} has weight ${weight}: a weight is an integer from 0 to ${MAX_WEIGHT}`);
    }
    if (weight > 0) owner.push(i);
  });
  if (owner.length === 0) return ring;
  if (owner.length === 1) return ring.fill(owner[0]);
  const weights = owner.map((i) => members[i].weight);
  const largest = Math.max(...weights);
  const places = owner.map((i) => katranPermutation(members[i].hash, size));
  const tries = new Int32Array(owner.length);
  const sums = new Float64Array(owner.length);
  let free = size;

  function claim(rank: number): void {
    const { offset, skip } = places[rank];
    for (;;) {
      // Unsigned 32 bits, as Katran's sum wraps.
      const slot = ((offset + Math.imul(tries[rank]++, skip)) >>> 0) % size;
      if (ring[slot] !== EMPTY_SLOT) continue;
      ring[slot] = owner[rank];
      free--;
      return;
    }
  }

  for (let round = 0; free > 0; round++) {
    for (let rank = 0; rank < owner.length && free > 0; rank++) {
      if (variant === 'v1') {
        const turns = round === 0 ? weights[rank] : 1;
        for (let turn = 0; turn < turns && free > 0; turn++) claim(rank);
      } else {
        sums[rank] += weights[rank];
        if (sums[rank] < largest) continue;
        sums[rank] -= largest;
        claim(rank);
      }
    }
  }
  return ring;
}
