/**
 * Whose turn it is. Members of one weight form a class; all members of a class claim one slot each in a round of the class.
 * Round k (k = 1, 2 …) of a class of weight w happens at the moment (k − ½) / w, and moments are taken in order, heavier
 * classes first when they are equal.
 *
 * That is Webster's method of apportionment in slow motion: after any number of claims one common divisor rounds every
 * weight to the slots its member holds, whatever the weights (1 : 65,535 included), and neither small nor large ones are
 * favoured. The moments of one member depend on its own weight alone (not on the largest weight, the sum or the number of
 * members, as a turn counter would): a change of one member leaves the order of all other claims as it was, which keeps
 * disruption small. And since only ratios of moments count, weights 1 : 2 and 100 : 200 give the same table.
 *
 * The calendar is a bucket queue over the span of moments that the table can need: O(1) per round of a class, no matter how
 * many different weights there are.
 */
export interface Classes {
  readonly count: number;
  /** Class → first rank; one more entry closes the last class. */
  readonly from: Uint32Array;
  readonly weight: Uint16Array;
  /** Members of all classes and the sum of their weights. */
  readonly members: number;
  readonly sum: number;
}

/** Finds the runs of equal weight in `weight` (by rank, heaviest first). */
export function findClasses(weight: Uint16Array): Classes {
  const members = weight.length;
  let count = 0;
  let sum = 0;
  for (let rank = 0; rank < members; rank++) {
    sum += weight[rank];
    if (rank === 0 || weight[rank] !== weight[rank - 1]) count++;
  }
  const from = new Uint32Array(count + 1);
  const weights = new Uint16Array(count);
  let next = 0;
  for (let rank = 0; rank < members; rank++) {
    if (rank > 0 && weight[rank] === weight[rank - 1]) continue;
    from[next] = rank;
    weights[next++] = weight[rank];
  }
  from[count] = members;
  return { count, from, weight: weights, members, sum };
}

/** The order of rounds. `take()` gives the class whose round is next. */
export class Calendar {
  readonly #classes: Classes;
  readonly #buckets: number;
  readonly #scale: number;
  /** Bucket → first class of its list, −1 when empty; class → next in its list, sorted by moment, then class. */
  readonly #head: Int32Array;
  readonly #next: Int32Array;
  readonly #round: Uint32Array;
  readonly #moment: Float64Array;
  #bucket = 0;

  /** `claims` is the number of slots to be claimed: the calendar holds enough rounds for them, and no more. */
  constructor(classes: Classes, claims: number) {
    this.#classes = classes;
    this.#buckets = claims;
    // By the moment t at least t·sum − members / 2 claims have been made, so all have by this end.
    this.#scale = (claims * classes.sum) / (claims + classes.members);
    this.#head = new Int32Array(claims).fill(-1);
    this.#next = new Int32Array(classes.count);
    this.#round = new Uint32Array(classes.count);
    this.#moment = new Float64Array(classes.count);
    // Lightest first: the latest moments go in first, so that every insertion is at the head of its list.
    for (let index = classes.count - 1; index >= 0; index--) this.#schedule(index);
  }

  /** The class whose round is next. It is scheduled again for its following round. */
  take(): number {
    while (this.#head[this.#bucket] < 0) this.#bucket++;
    const index = this.#head[this.#bucket];
    this.#head[this.#bucket] = this.#next[index];
    this.#schedule(index);
    return index;
  }

  #schedule(index: number): void {
    const next = this.#next;
    const moments = this.#moment;
    // Equal fractions give equal doubles and unequal ones differ by more than 2^−37 of themselves: the order is exact.
    const moment = (++this.#round[index] - 0.5) / this.#classes.weight[index];
    const at = moment * this.#scale;
    if (at >= this.#buckets) return;
    const bucket = at | 0;
    moments[index] = moment;
    let before = -1;
    let after = this.#head[bucket];
    while (after >= 0 && (moments[after] < moment || (moments[after] === moment && after < index))) {
      before = after;
      after = next[after];
    }
    next[index] = after;
    if (before < 0) this.#head[bucket] = index;
    else next[before] = index;
  }
}
