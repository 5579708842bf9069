/**
 * All checks of all pools: follows the configuration, runs what is due, and says who serves with what share.
 *
 *     follow(pools) ─► Schedule ─► CheckRun ─► Standing ─► judge (minimum) ─► changed(shares)
 *     hear(…) ─────────────────────► doubt ──────┘ └─► tell(event)
 */
import { formatAddress } from '../base/address.ts';
import { CheckRun, definitionOf } from './check-run.ts';
import { type ExportedBackend, type ExportedState, STATE_VERSION } from './exported.ts';
import { judge, type Member, RECENT, type Verdict } from './minimum.ts';
import type { CreateProbe, ProbeOutcome, ProbeResources, ProbeTarget } from './probe.ts';
import { type BackendReport, backendReport, type PoolReport } from './report.ts';
import { Schedule, type Timing } from './schedule.ts';
import type { HealthSpec } from './spec.ts';
import { newCheck, newStanding, Standing, type StandingChange } from './standing.ts';
import { Watched } from './watched.ts';

/**
 * Runs at a time: each has a socket. With n checks whose workers all are silent a round takes ⌈n / MOST_RUNS⌉ × timeout; where that is longer than the interval,
 * "down" comes as much later (docs/health.md).
 */
export const MOST_RUNS = 1024;

export interface MonitoredBackend {
  readonly target: ProbeTarget;
  /** Active, with a weight above 0, before health is asked. */
  readonly takesFlows: boolean;
}

export interface MonitoredPool {
  readonly name: string;
  readonly health: HealthSpec;
  /** Those that are not down by the operator's word. */
  readonly backends: readonly MonitoredBackend[];
}

/** What is in force for one backend. */
export interface Share {
  readonly pool: string;
  readonly backend: string;
  readonly serves: boolean;
  /** 0–1. */
  readonly share: number;
  /** It does not serve, and the flows that it has stay with it. */
  readonly keepsFlows: boolean;
}

export type HealthEvent =
  | { readonly kind: 'up'; readonly backend: BackendReport }
  | { readonly kind: 'held'; readonly backend: BackendReport }
  | { readonly kind: 'down'; readonly backend: BackendReport; readonly check: string; readonly detail: string }
  | { readonly kind: 'minimum'; readonly pool: PoolReport; readonly kept: readonly string[] }
  | { readonly kind: 'failed'; readonly backend: BackendReport; readonly check: string; readonly error: unknown };

export interface MonitorOptions {
  readonly timing: Timing;
  readonly createProbe: CreateProbe;
  readonly resources: ProbeResources;
  /** Who serves changed: all shares. */
  readonly changed: (shares: readonly Share[]) => void;
  readonly tell: (event: HealthEvent) => void;
}

interface Pool {
  readonly name: string;
  health: HealthSpec;
  backends: Map<string, Watched>;
  verdict: Verdict;
  /** It was told that too few are good. */
  told: boolean;
}

export class HealthMonitor {
  readonly #options: MonitorOptions;
  readonly #schedule: Schedule;
  #pools = new Map<string, Pool>();
  #restored: ExportedState | null = null;
  /** Nobody was followed yet. */
  #first = true;
  #shares = '[]';
  #cancelTick: (() => void) | null = null;

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#schedule = new Schedule(options.timing, MOST_RUNS);
  }

  /** State of an earlier process, for the backends that the next `follow` names. */
  restore(state: ExportedState): void {
    this.#restored = state;
  }

  /** The pools with checks that there are from now on. What stays as it was, keeps its state. */
  follow(pools: readonly MonitoredPool[]): void {
    const before = this.#pools;
    const added: CheckRun[] = [];
    this.#pools = new Map(pools.map((pool) => [pool.name, this.#followPool(pool, before.get(pool.name), added)]));
    for (const [name, old] of before) {
      const stays = this.#pools.get(name)?.backends;
      for (const watched of old.backends.values()) {
        if (stays?.get(watched.name) !== watched) for (const run of watched.runs) this.#end(run);
      }
    }
    this.#first = false;
    this.#restored = null;
    this.#schedule.add(added);
    for (const pool of this.#pools.values()) this.#judge(pool);
    this.#settle();
  }

  /** How many ICMP "port unreachable" (or "protocol unreachable") there were about tunnel packets to a backend, ever. */
  hear(poolName: string, backend: string, messages: number): void {
    const pool = this.#pools.get(poolName);
    const watched = pool?.backends.get(backend);
    if (pool === undefined || watched === undefined) return;
    const doubted = watched.hear(messages, pool.health, this.#options.timing.now());
    if (!doubted || pool.health.portUnreachable === 'ignore') return;
    for (const index of watched.doubted()) {
      watched.standing.doubt(index);
      this.#schedule.hurry(watched.runs[index]);
    }
  }

  /** What is in force: one entry for every backend that is checked. */
  shares(): Share[] {
    const now = this.#options.timing.now();
    return this.#every().map(([{ verdict, health }, { pool, name, standing }]) => {
      const serves = verdict.serving.has(name);
      const keepsFlows = !serves && health.whenDown === 'keep-flows';
      // One that is kept against its checks keeps its weight too.
      return { pool, backend: name, serves, share: !serves ? 0 : standing.up ? standing.share(now) : 1, keepsFlows };
    });
  }

  report(): { readonly pools: readonly PoolReport[]; readonly backends: readonly BackendReport[] } {
    const now = this.#options.timing.now();
    return {
      pools: [...this.#pools.values()].map(poolReport),
      backends: this.#every().map(([{ verdict }, watched]) => backendReport(watched, verdict, now)),
    };
  }

  exportState(): ExportedState {
    return {
      version: STATE_VERSION,
      savedAt: this.#options.timing.now(),
      pools: [...this.#pools.values()].map(({ name, verdict }) => ({ name, lastGood: [...verdict.lastGood] })),
      backends: this.#every().map(([, { pool, name, address, runs, standing }]): ExportedBackend => {
        return { pool, name, address, checks: runs.map(({ definition }) => definition), state: standing.state };
      }),
    };
  }

  close(): void {
    this.#cancelTick?.();
    this.#cancelTick = null;
    for (const [, { runs }] of this.#every()) for (const run of runs) this.#end(run);
    this.#schedule.close();
    this.#pools.clear();
  }

  #followPool(pool: MonitoredPool, before: Pool | undefined, added: CheckRun[]): Pool {
    const { name, health } = pool;
    const lastGood = before?.verdict.lastGood ?? this.#restored?.pools.find((one) => one.name === name)?.lastGood ?? [];
    const followed: Pool = {
      name,
      health,
      backends: new Map(),
      verdict: { ...(before?.verdict ?? NOBODY), lastGood: new Set(lastGood) },
      told: before?.told ?? false,
    };
    for (const { target, takesFlows } of pool.backends) {
      const old = before?.backends.get(target.backend.name);
      const isSame = old !== undefined && old.address === formatAddress(target.backend.address);
      const watched = isSame ? old : new Watched(target, takesFlows, this.#standing(target, health));
      watched.target = target;
      watched.takesFlows = takesFlows;
      followed.backends.set(watched.name, watched);
      this.#followChecks(followed, watched, added);
    }
    return followed;
  }

  /** What is known of a backend that is new here. */
  #standing(target: ProbeTarget, health: HealthSpec): Standing {
    const restored = this.#restoredBackend(target);
    if (restored !== undefined) return new Standing(health, restored.state);
    const state = newStanding(health, health.checks.length, this.#options.timing.now());
    return new Standing(health, state, { slowFirst: !this.#first });
  }

  #restoredBackend({ pool, backend }: ProbeTarget): ExportedBackend | undefined {
    const address = formatAddress(backend.address);
    return this.#restored?.backends.find((one) => one.pool === pool && one.name === backend.name && one.address === address);
  }

  #followChecks(pool: Pool, watched: Watched, added: CheckRun[]): void {
    const { health } = pool;
    const { state } = watched.standing;
    // Of what there was: runs of this process, or definitions of an earlier one.
    const restored = watched.runs.length === 0 ? this.#restoredBackend(watched.target)?.checks : undefined;
    const known = restored ?? watched.runs.map(({ definition }) => definition);
    const isNew = watched.runs.length === 0 && restored === undefined;
    const old = [...watched.runs];
    const runs = health.checks.map((check) => {
      const at = old.findIndex(({ definition }) => definition === definitionOf(check));
      const [run] = at < 0 ? [] : old.splice(at, 1);
      if (run !== undefined) run.pace(health);
      return run ?? this.#start(pool, watched, check, added);
    });
    for (const run of old) this.#end(run);
    const taken = new Set<number>();
    const checks = runs.map(({ definition }, i) => {
      if (isNew) return state.checks[i];
      const at = known.findIndex((one, j) => one === definition && !taken.has(j));
      taken.add(at);
      return at < 0 ? newCheck(state.up) : state.checks[at];
    });
    watched.setRuns(runs);
    this.#take(pool, watched, watched.standing.change(health, checks, this.#options.timing.now()));
  }

  #start(pool: Pool, watched: Watched, check: HealthSpec['checks'][number], added: CheckRun[]): CheckRun {
    const { createProbe, resources, timing, tell } = this.#options;
    const run: CheckRun = new CheckRun({
      check,
      timing,
      probe: createProbe(check, resources),
      target: () => watched.target,
      ended: (outcome) => this.#ended(watched, run, outcome),
      failed: (error) => {
        const { verdict } = this.#pools.get(pool.name) ?? pool;
        const label = watched.labels[watched.runs.indexOf(run)] ?? check.type;
        tell({ kind: 'failed', backend: backendReport(watched, verdict, timing.now()), check: label, error });
      },
    });
    run.pace(pool.health);
    added.push(run);
    return run;
  }

  #end(run: CheckRun): void {
    this.#schedule.remove(run);
    run.end();
  }

  #ended(watched: Watched, run: CheckRun, outcome: ProbeOutcome): void {
    const pool = this.#pools.get(watched.pool);
    const index = watched.runs.indexOf(run);
    if (pool === undefined || index < 0) return;
    const wasBad = !watched.standing.good;
    const changes = watched.standing.ran(index, outcome, this.#options.timing.now());
    if (changes.length === 0 && wasBad === !watched.standing.good && pool.verdict.isBelow === pool.told) return;
    this.#take(pool, watched, changes);
    this.#judge(pool);
    this.#settle();
  }

  #take(pool: Pool, watched: Watched, changes: readonly StandingChange[]): void {
    const { tell, timing } = this.#options;
    for (const change of changes) {
      const backend = backendReport(watched, pool.verdict, timing.now());
      if (change.to === 'held') {
        tell({ kind: 'held', backend });
        continue;
      }
      watched.changes[change.to]++;
      if (change.to === 'up') tell({ kind: 'up', backend });
      else tell({ kind: 'down', backend, check: watched.labels[change.check], detail: change.detail });
    }
  }

  #judge(pool: Pool): void {
    const now = this.#options.timing.now();
    const members = [...pool.backends.values()].map(({ name, takesFlows, standing }): Member => {
      const { up, good } = standing;
      return { name, takesFlows, up, isHeld: !up && good, isRecent: !up && now - standing.state.since < RECENT };
    });
    pool.verdict = judge(members, pool.health, pool.verdict);
    const { isBelow, lastGood } = pool.verdict;
    // With `initial: down` nobody is good before the first runs: no news.
    if (isBelow === pool.told || (isBelow && lastGood.size === 0 && hasUnasked(pool))) return;
    pool.told = isBelow;
    const kept = members.filter(({ name, up }) => !up && pool.verdict.serving.has(name)).map(({ name }) => name);
    this.#options.tell({ kind: 'minimum', pool: poolReport(pool), kept });
  }

  /** Says who serves, when that changed, and waits for the next change that only time makes. */
  #settle(): void {
    const { timing, changed } = this.#options;
    const shares = this.shares();
    const text = JSON.stringify(shares);
    if (text !== this.#shares) {
      this.#shares = text;
      changed(shares);
    }
    this.#cancelTick?.();
    this.#cancelTick = null;
    const now = timing.now();
    const next = Math.min(...this.#every().map(([, { standing }]) => standing.nextTick(now)), Number.POSITIVE_INFINITY);
    if (next !== Number.POSITIVE_INFINITY) this.#cancelTick = timing.after(Math.max(0.001, next - now), () => this.#tick());
  }

  #tick(): void {
    const now = this.#options.timing.now();
    for (const [pool, watched] of this.#every()) this.#take(pool, watched, watched.standing.tick(now));
    for (const pool of this.#pools.values()) this.#judge(pool);
    this.#settle();
  }

  #every(): [Pool, Watched][] {
    return [...this.#pools.values()].flatMap((pool) =>
      [...pool.backends.values()].map((watched): [Pool, Watched] => [pool, watched]),
    );
  }
}

/** Some backend that takes flows has a check that has not said anything yet. */
function hasUnasked({ backends }: Pool): boolean {
  return [...backends.values()].some(
    ({ takesFlows, standing }) => takesFlows && standing.state.checks.some(({ fresh }) => fresh),
  );
}

const NOBODY: Verdict = { serving: new Set(), lastGood: new Set(), good: 0, wanted: 0, isBelow: false };

function poolReport({ name, health, verdict, backends }: Pool): PoolReport {
  const { good, wanted, isBelow } = verdict;
  return {
    name,
    good,
    of: [...backends.values()].filter(({ takesFlows }) => takesFlows).length,
    wanted,
    isBelow,
    mode: health.belowMinimum,
  };
}
