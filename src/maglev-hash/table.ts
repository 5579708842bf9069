/**
 * Table building after Maglev (Eisenbud et al., NSDI 2016, §3.4): members take turns, each claiming the next free slot of its
 * own permutation, until the table is full. The walk is the paper's; what differs is only how it is carried out:
 *
 * - Taken slots are marked in a byte each: the walk touches half the memory that the table itself would be.
 * - The last slots are the dear ones: with f slots free a claim takes size / f steps, so the last 200 of 65,537 cost half of
 *   all steps. For these the distance to each free slot is computed (modular inverse of the skip) and the nearest taken: the
 *   same slot that walking would have found.
 */
import type { Member, TurnOrder } from './permutation.ts';
import { EMPTY_SLOT, orderTurns } from './permutation.ts';
import { isPrime, nextPrime } from './prime.ts';
import { Calendar, findClasses } from './turns.ts';

/** Largest size: the largest prime below 2^20, so that products of two slots stay exact in doubles and sums in int32. */
export const MAX_TABLE_SIZE = 1048573;
/** From this many free slots on, distances are computed instead of walked. */
const TAIL = 160;

/**
 * Builds the table of a pool: slot → index in `members` as given, `EMPTY_SLOT` in every slot when no member has weight > 0.
 *
 * The owner of each slot depends on the set of {identity, weight}, on `size` and on `seed` (32 bits), never on the order of
 * `members`. Equal weights get ⌊size / n⌋ or ⌈size / n⌉ slots; unequal ones their share rounded to the nearest, so a
 * member whose share is below half a slot may get none.
 *
 * @throws RangeError for a size that is not prime or above MAX_TABLE_SIZE, more than 65,534 members, a weight outside
 *   0–65,535, or two members with the same identity.
 */
export function buildTable(members: readonly Member[], size: number, seed: number): Uint16Array {
  checkTableSize(size);
  const turns = orderTurns(members, size, seed | 0);
  const table = new Uint16Array(size);
  if (turns.count === 0) return table.fill(EMPTY_SLOT);
  const filling = new Filling(turns, table);
  const classes = findClasses(turns.weight);
  if (classes.count === 1) {
    while (filling.free > 0) filling.round(0, turns.count);
  } else {
    const calendar = new Calendar(classes, size);
    while (filling.free > 0) {
      const index = calendar.take();
      filling.round(classes.from[index], classes.from[index + 1]);
    }
  }
  return table;
}

/** Throws a RangeError that names the nearest sizes when `size` can not be a table's. */
export function checkTableSize(size: number): void {
  if (Number.isInteger(size) && size >= 2 && size <= MAX_TABLE_SIZE && isPrime(size)) return;
  if (!Number.isInteger(size) || size < 2 || size > MAX_TABLE_SIZE) {
    throw new RangeError(`a table size is a prime from 2 to ${MAX_TABLE_SIZE}, not ${size}`);
  }
  throw new RangeError(`a table size must be prime and ${size} is not; the next prime is ${nextPrime(size)}`);
}

/** A table that is being filled. */
class Filling {
  free: number;
  readonly #turns: TurnOrder;
  readonly #table: Uint16Array;
  readonly #taken: Uint8Array;
  /** The free slots once they are few; null before. */
  #tail: Int32Array | null = null;

  constructor(turns: TurnOrder, table: Uint16Array) {
    this.#turns = turns;
    this.#table = table;
    this.#taken = new Uint8Array(table.length);
    this.free = table.length;
  }

  /** One slot for each member of ranks `from` to `to` − 1, until none is free. */
  round(from: number, to: number): void {
    const walked = Math.min(to, from + Math.max(0, this.free - TAIL));
    this.#walk(from, walked);
    for (let rank = walked; rank < to && this.free > 0; rank++) this.#jump(rank);
  }

  #walk(from: number, to: number): void {
    const { owner, position, skip } = this.#turns;
    const table = this.#table;
    const taken = this.#taken;
    const size = table.length;
    for (let rank = from; rank < to; rank++) {
      let slot = position[rank];
      const step = skip[rank];
      while (taken[slot] !== 0) {
        slot += step - size;
        // Adds size again when negative: a branch here would be mispredicted every other time.
        slot += size & (slot >> 31);
      }
      taken[slot] = 1;
      table[slot] = owner[rank];
      slot += step - size;
      position[rank] = slot + (size & (slot >> 31));
    }
    if (to > from) this.free -= to - from;
  }

  #jump(rank: number): void {
    const { owner, position, skip } = this.#turns;
    const size = this.#table.length;
    if (this.#tail === null) this.#tail = this.#listFree();
    const tail = this.#tail;
    const start = position[rank];
    const inverse = inverseModulo(skip[rank], size);
    let nearest = 0;
    let least = size;
    for (let i = 0; i < this.free; i++) {
      const ahead = tail[i] - start;
      // Steps from here to the free slot: ahead / skip modulo size. The product is below 2^40: exact.
      const product = (ahead < 0 ? ahead + size : ahead) * inverse;
      const steps = product - Math.floor(product / size) * size;
      if (steps < least) {
        least = steps;
        nearest = i;
      }
    }
    const slot = tail[nearest];
    this.#table[slot] = owner[rank];
    position[rank] = (slot + skip[rank]) % size;
    tail[nearest] = tail[--this.free];
  }

  #listFree(): Int32Array {
    const tail = new Int32Array(this.free);
    let found = 0;
    for (let slot = 0; slot < this.#taken.length; slot++) if (this.#taken[slot] === 0) tail[found++] = slot;
    return tail;
  }
}

/** x with value·x ≡ 1 modulo the prime `size`, for 1 ≤ value < size: the extended Euclidean algorithm. */
function inverseModulo(value: number, size: number): number {
  let a = size;
  let b = value;
  let x = 0;
  let y = 1;
  while (b !== 0) {
    const quotient = (a / b) | 0;
    const remainder = a - quotient * b;
    a = b;
    b = remainder;
    const next = x - quotient * y;
    x = y;
    y = next;
  }
  return x < 0 ? x + size : x;
}
