/**
 * The forwarding table of GLB director (docs/development/glb-hashing.md there): 65,536 rows, each with its backends in the order of a keyed
 * hash (rendezvous hashing). The first is the primary, the second is where a worker passes on what is not its own.
 *
 *     row seed = SipHash-2-4(seed, row number, 32 bits big-endian)
 *     order    = SipHash-2-4(seed, row seed ‖ address), its eight bytes as they lie compared as one number, smallest first
 */
import { EMPTY_SLOT } from '../permutation.ts';
import { sipHash } from '../siphash.ts';

export const GLB_ROWS = 65536;
/** GLB's own limit. */
export const GLB_MAX_BACKENDS = 256;
const ROUNDS = 2;
const FINAL_ROUNDS = 4;

export interface GlbMember {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** Takes new flows: neither draining nor inactive. */
  readonly active: boolean;
  readonly healthy: boolean;
}

export interface GlbRows {
  /** Row → index in the members as given; EMPTY_SLOT without members (secondary: with only one). */
  readonly primary: Uint16Array;
  readonly secondary: Uint16Array;
}

function swap(word: number): number {
  return ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/**
 * The rows of a GLB table with `seed` (16 bytes as four words, `sipKey`). A primary that is not active or not healthy changes places with
 * an active secondary, whose health GLB does not ask. The rows do not depend on the order of `members`. Throws RangeError for too many.
 */
export function buildGlbRows(members: readonly GlbMember[], seed: Int32Array): GlbRows {
  const count = members.length;
  if (count > GLB_MAX_BACKENDS) throw new RangeError(`a GLB table takes at most ${GLB_MAX_BACKENDS} members, not ${count}`);
  const primary = new Uint16Array(GLB_ROWS).fill(EMPTY_SLOT);
  const secondary = new Uint16Array(GLB_ROWS).fill(EMPTY_SLOT);
  const rowMessage = new Int32Array(2);
  const out = new Int32Array(2);
  // Row seed and address, a message for each member.
  const messages = members.map(({ address }) => {
    if (address.length !== 4 && address.length !== 16)
      throw new RangeError(`an address has 4 or 16 bytes, not ${address.length}`);
    const words = new Int32Array(8);
    new Uint8Array(words.buffer).set(address, 8);
    return words;
  });
  const standing = members.map(({ active, healthy }) => active && healthy);
  for (let row = 0; row < GLB_ROWS; row++) {
    rowMessage[0] = swap(row);
    sipHash(seed, rowMessage, 4, ROUNDS, FINAL_ROUNDS, out);
    const low = out[0];
    const high = out[1];
    let first = -1;
    let second = -1;
    let firstHigh = 0;
    let firstLow = 0;
    let secondHigh = 0;
    let secondLow = 0;
    for (let i = 0; i < count; i++) {
      const message = messages[i];
      message[0] = low;
      message[1] = high;
      sipHash(seed, message, 8 + members[i].address.length, ROUNDS, FINAL_ROUNDS, out);
      const above = swap(out[0]) >>> 0;
      const below = swap(out[1]) >>> 0;
      if (first < 0 || above < firstHigh || (above === firstHigh && below < firstLow)) {
        second = first;
        secondHigh = firstHigh;
        secondLow = firstLow;
        first = i;
        firstHigh = above;
        firstLow = below;
      } else if (second < 0 || above < secondHigh || (above === secondHigh && below < secondLow)) {
        second = i;
        secondHigh = above;
        secondLow = below;
      }
    }
    if (first < 0) break;
    const swaps = !standing[first] && second >= 0 && members[second].active;
    primary[row] = swaps ? second : first;
    if (second >= 0) secondary[row] = swaps ? first : second;
  }
  return { primary, secondary };
}
