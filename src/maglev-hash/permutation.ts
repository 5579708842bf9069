/**
 * The members of a table in turn order, each with its permutation of the slots: offset, offset + skip, offset + 2·skip …
 * modulo the size. Depends on the SET of members only: the order is by hash, and members whose hashes are equal are ordered by
 * their identity's bytes.
 */
import { hashIdentity, offsetOf, skipOf } from './hash.ts';
import { TWO_32 } from './mix.ts';

/** A member of a pool: `identity` says who it is (a backend's address bytes), `weight` how many turns it gets (0–65,535). */
export interface Member {
  readonly identity: Uint8Array;
  readonly weight: number;
}

/** Value of every slot of a table without members. */
export const EMPTY_SLOT = 0xffff;
/** Most members of one table: slots are 16 bits and one value means "empty". */
export const MAX_MEMBERS = 65534;
export const MAX_WEIGHT = 65535;

/** The members that take part (weight > 0), heavier classes first, by hash inside a class. Parallel columns by rank. */
export interface TurnOrder {
  readonly count: number;
  /** Rank → index in the list as it was given. */
  readonly owner: Uint16Array;
  /** Rank → next slot of the member's permutation to try. */
  readonly position: Int32Array;
  readonly skip: Int32Array;
  readonly weight: Uint16Array;
}

/**
 * Orders `members` for a table of `size` slots.
 * @throws RangeError for too many members, a weight that is no integer from 0 to 65,535, or two equal identities.
 */
export function orderTurns(members: readonly Member[], size: number, seed: number): TurnOrder {
  const total = members.length;
  if (total > MAX_MEMBERS) throw new RangeError(`a table takes at most ${MAX_MEMBERS} members, not ${total}`);
  const lanes = new Int32Array(2 * total);
  let count = 0;
  let uniform = true;
  let first = 0;
  for (let i = 0; i < total; i++) {
    const { identity, weight } = members[i];
    if (!Number.isInteger(weight) || weight < 0 || weight > MAX_WEIGHT) {
      throw new RangeError(`member ${i} has weight ${weight}: a weight is an integer from 0 to ${MAX_WEIGHT}`);
    }
    if (weight > 0) {
      if (count++ === 0) first = weight;
      else if (weight !== first) uniform = false;
    }
    hashIdentity(identity, seed, lanes, 2 * i);
  }
  const order = sortByHash(members, lanes);
  const ranks = byWeight(order, members, count, uniform);
  const position = new Int32Array(count);
  const skip = new Int32Array(count);
  const weight = new Uint16Array(count);
  for (let rank = 0; rank < count; rank++) {
    const i = ranks[rank];
    position[rank] = offsetOf(lanes[2 * i], size);
    skip[rank] = skipOf(lanes[2 * i + 1], size);
    weight[rank] = members[i].weight;
  }
  return { count, owner: ranks, position, skip, weight };
}

/**
 * Indices of all members in the order of their hashes (first lane, then second, unsigned), then of their bytes. The hashes
 * are uniform, so one counting pass into as many buckets as members leaves about one in each, and insertion sort the rest:
 * a fifth of the time of the engine's sort.
 */
function sortByHash(members: readonly Member[], lanes: Int32Array): Uint16Array {
  const total = members.length;
  const ends = new Uint32Array(total);
  for (let i = 0; i < total; i++) ends[bucketOf(lanes[2 * i], total)]++;
  for (let bucket = 1; bucket < total; bucket++) ends[bucket] += ends[bucket - 1];
  const order = new Uint16Array(total);
  for (let i = 0; i < total; i++) order[--ends[bucketOf(lanes[2 * i], total)]] = i;
  for (let rank = 1; rank < total; rank++) {
    const i = order[rank];
    let at = rank;
    while (at > 0 && compare(members, lanes, order[at - 1], i) > 0) {
      order[at] = order[at - 1];
      at--;
    }
    order[at] = i;
  }
  return order;
}

function bucketOf(lane: number, buckets: number): number {
  return (((lane >>> 0) * buckets) / TWO_32) | 0;
}

function compare(members: readonly Member[], lanes: Int32Array, a: number, b: number): number {
  // The smallest int32 added to both: a signed comparison of unsigned numbers.
  const x = lanes[2 * a] ^ 0x80000000;
  const y = lanes[2 * b] ^ 0x80000000;
  if (x !== y) return x < y ? -1 : 1;
  return (lanes[2 * a + 1] >>> 0) - (lanes[2 * b + 1] >>> 0) || compareIdentities(members, a, b);
}

/** Byte-wise order, the shorter first when one begins the other. Equal identities are an error: whose would the slots be? */
function compareIdentities(members: readonly Member[], a: number, b: number): number {
  const x = members[a].identity;
  const y = members[b].identity;
  const shared = Math.min(x.length, y.length);
  for (let i = 0; i < shared; i++) if (x[i] !== y[i]) return x[i] - y[i];
  if (x.length !== y.length) return x.length - y.length;
  throw new RangeError(`members ${Math.min(a, b)} and ${Math.max(a, b)} have the same identity`);
}

/** Drops members of weight 0 and, when weights differ, groups the rest by weight, heaviest first, keeping the hash order inside. */
function byWeight(order: Uint16Array, members: readonly Member[], count: number, uniform: boolean): Uint16Array {
  if (uniform && count === order.length) return order;
  const ranks = new Uint16Array(count);
  const keys = new Uint32Array(count);
  let used = 0;
  for (let rank = 0; rank < order.length; rank++) {
    const weight = members[order[rank]].weight;
    if (weight > 0) keys[used++] = (MAX_WEIGHT - weight) * 65536 + rank;
  }
  keys.sort();
  for (let i = 0; i < count; i++) ranks[i] = order[keys[i] & 0xffff];
  return ranks;
}
