/** What the checks know, for status, metrics and the journal. */
import type { RunCounts } from './check-run.ts';
import type { Verdict } from './minimum.ts';
import type { HealthSpec } from './spec.ts';
import type { LastRun } from './standing.ts';
import type { Watched } from './watched.ts';

export interface CheckReport {
  /** `http:8080`. */
  readonly check: string;
  readonly good: boolean;
  /** Runs in a row that say the contrary. */
  readonly contrary: number;
  readonly last: LastRun | null;
  readonly counts: Readonly<RunCounts>;
}

export interface BackendReport {
  readonly pool: string;
  readonly name: string;
  readonly address: string;
  /** Its checks say that it serves. */
  readonly up: boolean;
  /** It does: as `up`, or because too few others are good. */
  readonly serves: boolean;
  /** 0–1. */
  readonly share: number;
  /** Seconds for which it is still held down although it is good; 0 when it is not. */
  readonly heldFor: number;
  readonly penalty: number;
  /** Seconds since it went up or down. */
  readonly age: number;
  readonly changes: { readonly up: number; readonly down: number };
  readonly checks: readonly CheckReport[];
}

export interface PoolReport {
  readonly name: string;
  /** Backends that take flows and are up, of how many, and how many must be (0: no rule). */
  readonly good: number;
  readonly of: number;
  readonly wanted: number;
  readonly isBelow: boolean;
  readonly mode: HealthSpec['belowMinimum'];
}

/** `now`: seconds of the clock of the standing. */
export function backendReport(watched: Watched, { serving }: Verdict, now: number): BackendReport {
  const { pool, name, address, standing, runs, labels } = watched;
  const { up, since, checks } = standing.state;
  const serves = serving.has(name);
  const isHeld = !up && standing.good && standing.isHeld(now);
  return {
    pool,
    name,
    address,
    up,
    serves,
    share: !serves ? 0 : up ? standing.share(now) : 1,
    heldFor: isHeld ? Math.max(0, standing.nextTick(now) - now) : 0,
    penalty: standing.penalty(now),
    age: Math.max(0, now - since),
    changes: { ...watched.changes },
    checks: runs.map(({ counts }, i) => {
      const { good, contrary, last } = checks[i];
      return { check: labels[i], good, contrary, last, counts: { ...counts } };
    }),
  };
}
