/** How evenly a table is shared out. */
import { EMPTY_SLOT } from './permutation.ts';

export interface ShareStatistics {
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  /** max / mean: 1 is perfectly even; meaningful for equal weights. 0 without slots. */
  readonly maxOverMean: number;
  /** Percentiles of slots per member (nearest rank). */
  readonly p5: number;
  readonly p25: number;
  readonly p50: number;
  readonly p75: number;
  readonly p95: number;
}

export interface TableShares extends ShareStatistics {
  /** Member index → its slots. */
  readonly counts: Uint32Array;
  /** Slots that belong to nobody: all or none. */
  readonly empty: number;
}

/**
 * Slots of each of `count` members in `table`, with statistics over all of them (members of weight 0 included: to leave
 * them out, pass their counts' rest to `shareStatistics`).
 * @throws RangeError when a slot names a member ≥ count, other than EMPTY_SLOT.
 */
export function tableShares(table: Uint16Array, count: number): TableShares {
  const counts = new Uint32Array(count);
  let empty = 0;
  for (let slot = 0; slot < table.length; slot++) {
    const member = table[slot];
    if (member < count) counts[member]++;
    else if (member === EMPTY_SLOT) empty++;
    else throw new RangeError(`slot ${slot} names member ${member} of ${count}`);
  }
  return { counts, empty, ...shareStatistics(counts) };
}

/** Statistics of slots per member; all zero for no members. */
export function shareStatistics(counts: Uint32Array): ShareStatistics {
  const sorted = counts.slice().sort();
  const members = sorted.length;
  const percentile = (p: number) => (members === 0 ? 0 : sorted[Math.max(0, Math.ceil((p / 100) * members) - 1)]);
  let sum = 0;
  for (const slots of sorted) sum += slots;
  const mean = members === 0 ? 0 : sum / members;
  const max = percentile(100);
  return {
    min: percentile(0),
    max,
    mean,
    maxOverMean: mean === 0 ? 0 : max / mean,
    p5: percentile(5),
    p25: percentile(25),
    p50: percentile(50),
    p75: percentile(75),
    p95: percentile(95),
  };
}
