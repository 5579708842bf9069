/**
 * How one backend stands: a pure state machine, told the outcome of every run and the time.
 *
 *                    rise good runs in a row
 *           ┌──────────────────────────────────────┐
 *     ┌─────┴─┐                                  ┌─▼──┐
 *     │  bad  │  of each check                   │good│      backend good = every check good
 *     └─────▲─┘                                  └─┬──┘      backend up   = good and not held (damping.ts)
 *           └──────────────────────────────────────┘
 *                    fall bad runs in a row
 *
 * A check that never ran is what `initial` says; of one that is down from the start a single good run is proof, because nothing speaks against it. A
 * check that a reload adds begins as its backend stands.
 *
 * Up again after having been down, a backend gets its weight in STEPS steps (`slowStart`).
 */
import { afterDown, decayed, isHeld, NO_PENALTY, type Penalty, releasedAt } from './damping.ts';
import type { ProbeOutcome } from './probe.ts';
import type { HealthSpec } from './spec.ts';

/** Of slow start: each costs a table. */
export const STEPS = 10;

export interface LastRun extends ProbeOutcome {
  /** Seconds of the caller's clock. */
  readonly at: number;
}

/** One check of one backend. Plain data. */
export interface CheckStanding {
  readonly good: boolean;
  /** Runs in a row that say the contrary of `good`. */
  readonly contrary: number;
  /** No run has said anything yet. */
  readonly fresh: boolean;
  readonly last: LastRun | null;
}

export type StandingChange =
  /** `check`: index of the one that failed; −1 when none is to blame. */
  | { readonly to: 'down'; readonly check: number; readonly detail: string }
  | { readonly to: 'up' }
  /** All its checks are good again, but it went down too often: `until` in seconds. */
  | { readonly to: 'held'; readonly until: number };

/** Everything that outlives a restart. Times in seconds. */
export interface StandingState {
  readonly checks: readonly CheckStanding[];
  readonly penalty: Penalty;
  readonly up: boolean;
  /** Since when `up` is what it is. */
  readonly since: number;
  /** Its weight grows from `since` on. */
  readonly starting: boolean;
  /** It was up at some time. */
  readonly served: boolean;
}

export type StandingRules = Pick<HealthSpec, 'rise' | 'fall' | 'initial' | 'damping' | 'slowStart'>;

/** Of a backend that is new. */
export function newStanding(rules: StandingRules, checks: number, now: number): StandingState {
  const up = rules.initial === 'up';
  return { checks: new Array(checks).fill(newCheck(up)), penalty: NO_PENALTY, up, since: now, starting: false, served: up };
}

/** Of a check that is new, on a backend that is `up`. */
export function newCheck(up: boolean): CheckStanding {
  return { good: up, contrary: 0, fresh: true, last: null };
}

export class Standing {
  #rules: StandingRules;
  #state: StandingState;
  /** It was told that it is held. */
  #told = false;
  readonly #slowFirst: boolean;

  /** `slowFirst`: its very first going up is gradual too, since others serve already. */
  constructor(rules: StandingRules, state: StandingState, { slowFirst = false } = {}) {
    this.#rules = rules;
    this.#state = state;
    this.#slowFirst = slowFirst;
  }

  get state(): StandingState {
    return this.#state;
  }

  get up(): boolean {
    return this.#state.up;
  }

  /** Every check is good. */
  get good(): boolean {
    return this.#state.checks.every(({ good }) => good);
  }

  /** A reload changed the rules, or which checks there are: `checks` are those that there are now. */
  change(rules: StandingRules, checks: readonly CheckStanding[], now: number): StandingChange[] {
    this.#rules = rules;
    this.#state = { ...this.#state, checks };
    return this.#review(now, -1);
  }

  /** The outcome of a run of check `index`, at `now`. */
  ran(index: number, outcome: ProbeOutcome, now: number): StandingChange[] {
    const before = this.#state.checks[index];
    this.#setCheck(index, afterRun(before, this.#rules, { ...outcome, at: now }));
    return this.#review(now, index);
  }

  /** Something else speaks against the backend: one more bad run of the check is enough to take it down. */
  doubt(index: number): void {
    const check = this.#state.checks[index];
    if (check.good) this.#setCheck(index, { ...check, contrary: Math.max(check.contrary, this.#rules.fall - 1) });
  }

  /** Time has passed. */
  tick(now: number): StandingChange[] {
    return this.#review(now, -1);
  }

  /** When `tick` has something to do next; Infinity: never. */
  nextTick(now: number): number {
    const { damping, slowStart } = this.#rules;
    const { penalty, up, since, starting } = this.#state;
    if (!up) return damping !== null && isHeld(penalty, damping, now) ? releasedAt(penalty, damping) : Number.POSITIVE_INFINITY;
    if (!starting || slowStart === 0) return Number.POSITIVE_INFINITY;
    return since + (stepAt(now - since, slowStart) * slowStart) / STEPS;
  }

  /** Part of its weight that it gets at `now`, 0–1. */
  share(now: number): number {
    const { up, since, starting } = this.#state;
    if (!up) return 0;
    return starting ? stepAt(now - since, this.#rules.slowStart) / STEPS : 1;
  }

  isHeld(now: number): boolean {
    const { damping } = this.#rules;
    return damping !== null && isHeld(this.#state.penalty, damping, now);
  }

  /** What is left of its penalty. */
  penalty(now: number): number {
    const { damping } = this.#rules;
    return damping === null ? 0 : decayed(this.#state.penalty, damping, now);
  }

  #setCheck(index: number, check: CheckStanding): void {
    const wasGood = this.good;
    const checks = this.#state.checks.map((one, i) => (i === index ? check : one));
    this.#state = { ...this.#state, checks };
    const { damping } = this.#rules;
    // Every time that it goes bad counts, also while it is held: it flaps all the same.
    if (!wasGood || this.good || damping === null) return;
    this.#state = { ...this.#state, penalty: afterDown(this.#state.penalty, damping, check.last?.at ?? this.#state.penalty.at) };
    this.#told = false;
  }

  #review(now: number, index: number): StandingChange[] {
    const { up, since, starting } = this.#state;
    const good = this.good;
    if (up && !good) {
      this.#state = { ...this.#state, up: false, since: now, starting: false };
      const to = index >= 0 ? index : this.#state.checks.findIndex((check) => !check.good);
      return [{ to: 'down', check: to, detail: this.#state.checks[to].last?.detail ?? 'not asked yet' }];
    }
    if (!up && good) {
      if (this.isHeld(now)) {
        if (this.#told) return [];
        this.#told = true;
        return [{ to: 'held', until: releasedAt(this.#state.penalty, this.#rules.damping!) }];
      }
      const starting = this.#rules.slowStart > 0 && (this.#state.served || this.#slowFirst);
      this.#state = { ...this.#state, up: true, since: now, starting, served: true };
      return [{ to: 'up' }];
    }
    if (starting && stepAt(now - since, this.#rules.slowStart) === STEPS) this.#state = { ...this.#state, starting: false };
    return [];
  }
}

function afterRun(before: CheckStanding, { rise, fall }: StandingRules, last: LastRun): CheckStanding {
  if (last.ok === before.good) return { good: before.good, contrary: 0, fresh: false, last };
  const contrary = before.contrary + 1;
  const enough = before.good ? fall : before.fresh ? 1 : rise;
  if (contrary < enough) return { good: before.good, contrary, fresh: false, last };
  return { good: last.ok, contrary: 0, fresh: false, last };
}

/** Which step, 1–STEPS, a backend is on that came up `age` seconds ago. */
function stepAt(age: number, slowStart: number): number {
  if (slowStart <= 0) return STEPS;
  // The small addition: a timer that fires on the step must not find itself before it by rounding.
  return Math.max(1, Math.min(STEPS, Math.floor((age / slowStart) * STEPS + 1e-6) + 1));
}
