/**
 * The digest of a table: two directors whose digests are equal send every flow to the same backend. It is taken over
 * identities slot by slot, not over indices, so the order of the members in the file means nothing.
 */
import { hashIdentity } from './hash.ts';
import { absorb, mix32 } from './mix.ts';
import type { Member } from './permutation.ts';
import { EMPTY_SLOT } from './permutation.ts';

/**
 * 16 hexadecimal digits. Changes with any slot's owner and with the size; does not depend on the order of `members` nor,
 * but for the slots they lead to, on weights.
 * @throws RangeError when a slot names a member that is not there (other than EMPTY_SLOT, the empty table's).
 */
export function digestTable(table: Uint16Array, members: readonly Member[]): string {
  const lanes = new Int32Array(2 * members.length);
  for (let i = 0; i < members.length; i++) hashIdentity(members[i].identity, 0, lanes, 2 * i);
  let a = table.length;
  let b = ~table.length;
  for (let slot = 0; slot < table.length; slot++) {
    const member = table[slot];
    if (member >= members.length && member !== EMPTY_SLOT) {
      throw new RangeError(`slot ${slot} names member ${member} of ${members.length}`);
    }
    const empty = member === EMPTY_SLOT;
    // Both steps are bijections of the state, so tables that differ in one slot never meet again by way of the others.
    a = absorb(a, empty ? 0 : lanes[2 * member]);
    b = (absorb(b, empty ? 0 : lanes[2 * member + 1]) + a) | 0;
  }
  const high = mix32(a);
  return hex(high) + hex(mix32(b + high));
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0');
}
