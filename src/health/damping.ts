/**
 * Flap damping after BGP's (RFC 2439 §4.2): going down adds 1 to a penalty that halves every `halfLife` seconds. A backend whose penalty reaches
 * `suppress` is held down, however good it is, until the penalty is below `reuse`, or `longest` seconds after it last went down.
 *
 *     penalty
 *       3 ┤ · · · · · · · ╱╲ · · · · · · suppress
 *       2 ┤       ╱╲    ╱    ╲
 *       1 ┤ ╱╲  ╱    ╲╱        ╲ _ · · · reuse
 *       0 ┼─down──down──down─────────held─┴─ up
 */
import type { DampingSpec } from './spec.ts';

/** Plain data: it is kept across a restart. Times in seconds. */
export interface Penalty {
  /** Of the penalty when the backend last went down, at `at`. */
  readonly value: number;
  readonly at: number;
  /** It reached `suppress` and has not fallen below `reuse` since. */
  readonly held: boolean;
}

export const NO_PENALTY: Penalty = { value: 0, at: 0, held: false };

/** What is left of a penalty at `now`. */
export function decayed({ value, at }: Penalty, { halfLife }: DampingSpec, now: number): number {
  return value * 2 ** (-Math.max(0, now - at) / halfLife);
}

/** The penalty after going down at `now`. */
export function afterDown(before: Penalty, rules: DampingSpec, now: number): Penalty {
  const value = decayed(before, rules, now) + 1;
  return { value, at: now, held: isHeld(before, rules, now) || value >= rules.suppress };
}

/** Time at which one that is held is let go; its `at` when it is not held. */
export function releasedAt({ value, at, held }: Penalty, { halfLife, reuse, longest }: DampingSpec): number {
  if (!held || value < reuse) return at;
  return at + Math.min(longest, halfLife * Math.log2(value / reuse));
}

export function isHeld(penalty: Penalty, rules: DampingSpec, now: number): boolean {
  return penalty.held && now < releasedAt(penalty, rules);
}
