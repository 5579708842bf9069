/** What a change of a pool moves: two tables compared slot by slot, by the members' identities. */
import type { Member } from './permutation.ts';

export interface Disruption {
  readonly slots: number;
  /** Slots whose owner changed: own + gained + collateral. */
  readonly moved: number;
  /** Slots of members that are no longer there, or whose weight became 0: these had to move. */
  readonly own: number;
  /** Slots that went from a member that stays to one that is new: the newcomers' share. */
  readonly gained: number;
  /** Slots that went from a member that stays to another that was there before: what an ideal scheme would keep. */
  readonly collateral: number;
  /** The fewest moves that lead from the old numbers of slots per member to the new ones. */
  readonly least: number;
  /** moved / slots. */
  readonly movedRatio: number;
}

/** Owner number of an empty slot, in the numbering that both tables are brought to. */
const NOBODY = 0;

/**
 * Compares two tables of one size. `membersBefore` and `membersAfter` are the lists the tables were built from; members are
 * recognized by identity.
 * @throws RangeError when the sizes differ: then no slot means the same flows as before.
 */
export function disruption(
  before: Uint16Array,
  membersBefore: readonly Member[],
  after: Uint16Array,
  membersAfter: readonly Member[],
): Disruption {
  if (before.length !== after.length) {
    throw new RangeError(`tables of ${before.length} and ${after.length} slots can not be compared`);
  }
  const numbers = new Map<string, number>();
  const ownersBefore = numberMembers(membersBefore, numbers);
  const ownersAfter = numberMembers(membersAfter, numbers);
  const wasThere = present(membersBefore, ownersBefore, numbers.size);
  const isThere = present(membersAfter, ownersAfter, numbers.size);
  const balance = new Int32Array(numbers.size + 1);
  let own = 0;
  let gained = 0;
  let collateral = 0;
  for (let slot = 0; slot < before.length; slot++) {
    const old = ownersBefore[before[slot]] ?? NOBODY;
    const now = ownersAfter[after[slot]] ?? NOBODY;
    if (old === now) continue;
    balance[old]--;
    balance[now]++;
    if (isThere[old] === 0) own++;
    else if (wasThere[now] === 0) gained++;
    else collateral++;
  }
  const moved = own + gained + collateral;
  let least = 0;
  for (const difference of balance) if (difference > 0) least += difference;
  return { slots: before.length, moved, own, gained, collateral, least, movedRatio: moved / before.length };
}

/** Index → number of the member's identity, 1 and up, shared by both lists. */
function numberMembers(members: readonly Member[], numbers: Map<string, number>): number[] {
  return members.map(({ identity }) => {
    const key = String.fromCharCode(...identity);
    const number = numbers.get(key) ?? numbers.size + 1;
    numbers.set(key, number);
    return number;
  });
}

function present(members: readonly Member[], owners: readonly number[], count: number): Uint8Array {
  const there = new Uint8Array(count + 1);
  for (let i = 0; i < members.length; i++) if (members[i].weight > 0) there[owners[i]] = 1;
  return there;
}
