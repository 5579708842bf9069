// How a backend stands, computed from the whole history each time: the slow twin of src/health/standing.ts.

import type { DampingSpec, HealthSpec } from '../../src/health/spec.ts';

export interface HistoryRun {
  readonly at: number;
  readonly check: number;
  readonly ok: boolean;
}

export type TwinRules = Pick<HealthSpec, 'rise' | 'fall' | 'initial' | 'damping'>;

export interface TwinStanding {
  readonly good: readonly boolean[];
  readonly up: boolean;
  readonly penalty: number;
}

/** `runs` in the order of time, `now` not before the last. */
export function standingAfter(runs: readonly HistoryRun[], checks: number, rules: TwinRules, now: number): TwinStanding {
  const downs: number[] = [];
  let before = true;
  for (let n = 0; n <= runs.length; n++) {
    const good = goodAfter(runs.slice(0, n), checks, rules).every((one) => one);
    if (n === 0) before = good;
    if (before && !good) downs.push(runs[n - 1].at);
    before = good;
  }
  const good = goodAfter(runs, checks, rules);
  const { damping } = rules;
  const allGood = good.every((one) => one);
  if (damping === null) return { good, up: allGood, penalty: 0 };
  return { good, up: allGood && !heldAt(downs, damping, now), penalty: penaltyAt(downs, damping, now) };
}

/** Every check by itself: look back for the last run after which it must have changed. */
function goodAfter(runs: readonly HistoryRun[], checks: number, { rise, fall, initial }: TwinRules): boolean[] {
  return Array.from({ length: checks }, (_, check) => {
    const own = runs.filter((run) => run.check === check).map(({ ok }) => ok);
    let good = initial === 'up';
    if (!good && own[0] === true) good = true;
    let streak = 0;
    for (const ok of own) {
      streak = ok === good ? 0 : streak + 1;
      if (streak < (good ? fall : rise)) continue;
      good = !good;
      streak = 0;
    }
    return good;
  });
}

function penaltyAt(downs: readonly number[], { halfLife }: DampingSpec, now: number): number {
  return downs.filter((at) => at <= now).reduce((sum, at) => sum + 0.5 ** ((now - at) / halfLife), 0);
}

/** Held from a down at which the penalty reached `suppress`, until the time when it is below `reuse`: looked for in small steps back. */
function heldAt(downs: readonly number[], rules: DampingSpec, now: number): boolean {
  let held = false;
  downs.forEach((at, i) => {
    const next = downs[i + 1] ?? now;
    const known = downs.slice(0, i + 1);
    if (penaltyAt(known, rules, at) >= rules.suppress) held = true;
    // Between two downs the penalty only falls: one look at the end of the time is enough.
    const isOver = penaltyAt(known, rules, next) <= rules.reuse || next - at >= rules.longest;
    if (isOver) held = false;
  });
  return held;
}
