/**
 * Who is being drained, since when and until when. A drained backend keeps its flows and takes no new one; when its deadline has passed it is
 * down, and its flows move. Two causes, each with its own entry:
 *
 *     command         gue-director drain backend POOL/NAME, until it is cancelled or the backend is no longer configured
 *     configuration   state: draining, until the file says otherwise; counted from when that came into force
 *
 *     active ──drain──► draining ──deadline──► down
 *        ◄───cancel──────┴────────cancel────────┘
 *
 * Times are milliseconds since boot, so that nobody who sets the clock ends a drain.
 */
import type { BackendState, PoolSpec } from '../pipeline/spec.ts';
import { backendKey } from './layers.ts';

export type DrainCause = 'command' | 'configuration';

export interface Drain {
  readonly pool: string;
  readonly backend: string;
  readonly cause: DrainCause;
  readonly since: number;
  /** When it becomes down; null: never. */
  readonly deadline: number | null;
  /** The deadline has passed. */
  readonly passed: boolean;
}

/** What happened to a drain. `gone`: its backend is no longer configured. */
export interface DrainNews {
  readonly what: 'started' | 'deadline' | 'cancelled' | 'gone';
  readonly drain: Drain;
}

/** What outlives the process (drain-file.ts) and what a takeover hands over. */
export interface DrainRecord {
  readonly pool: string;
  readonly backend: string;
  readonly cause: DrainCause;
  readonly since: number;
  readonly deadline: number | null;
}

export class Drains {
  readonly #now: () => number;
  /** By cause and backendKey. */
  #drains = new Map<string, Drain>();

  /** `now`: milliseconds since boot. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Every drain, by pool and name; both, where a backend has two. */
  list(): readonly Drain[] {
    return [...this.#drains.values()].sort(
      (a, b) => order(a.pool, b.pool) || order(a.backend, b.backend) || order(a.cause, b.cause),
    );
  }

  find(pool: string, backend: string, cause: DrainCause): Drain | null {
    return this.#drains.get(keyOf(pool, backend, cause)) ?? null;
  }

  /**
   * Drains a backend by hand. `seconds` until it is down, null for never. One that is drained already keeps its beginning and gets the new
   * deadline, counted from now.
   */
  start(pool: string, backend: string, seconds: number | null): Drain {
    const now = this.#now();
    const known = this.find(pool, backend, 'command');
    const deadline = seconds === null ? null : now + seconds * 1000;
    const since = known?.since ?? now;
    const drain: Drain = { pool, backend, cause: 'command', since, deadline, passed: deadline !== null && deadline <= now };
    this.#drains.set(keyOf(pool, backend, 'command'), drain);
    return drain;
  }

  /** Ends a drain by hand; null when there was none. */
  cancel(pool: string, backend: string): Drain | null {
    const drain = this.find(pool, backend, 'command');
    this.#drains.delete(keyOf(pool, backend, 'command'));
    return drain;
  }

  /**
   * The backends as configuration and watched files have them, before any other layer. Drains of backends that are gone end; those that the
   * configuration wants begin and end. `uncertain`: pools of which a watched file could not be read, whose missing backends may come back.
   */
  follow(pools: readonly PoolSpec[], uncertain: ReadonlySet<string> = new Set()): DrainNews[] {
    const now = this.#now();
    const backends = new Map(
      pools.flatMap((pool) => pool.backends.map((backend) => [backendKey(pool.name, backend.name), backend] as const)),
    );
    const news: DrainNews[] = [];
    for (const [key, drain] of this.#drains) {
      const backend = backends.get(backendKey(drain.pool, drain.backend));
      if (backend === undefined) {
        if (uncertain.has(drain.pool)) continue;
        this.#drains.delete(key);
        news.push({ what: 'gone', drain });
      } else if (drain.cause === 'configuration' && backend.state !== 'draining') {
        this.#drains.delete(key);
        news.push({ what: 'cancelled', drain });
      }
    }
    for (const pool of pools) {
      for (const { name, state, drainDeadline } of pool.backends) {
        if (state !== 'draining') continue;
        const known = this.find(pool.name, name, 'configuration');
        const since = known?.since ?? now;
        const deadline = drainDeadline === undefined ? null : since + drainDeadline * 1000;
        if (known !== null && known.deadline === deadline) continue;
        const drain: Drain = { pool: pool.name, backend: name, cause: 'configuration', since, deadline, passed: false };
        this.#drains.set(keyOf(pool.name, name, 'configuration'), drain);
        if (known === null) news.push({ what: 'started', drain });
      }
    }
    return [...news, ...this.expire()];
  }

  /** Those whose deadline has passed since the last call. */
  expire(): DrainNews[] {
    const now = this.#now();
    const news: DrainNews[] = [];
    for (const [key, drain] of this.#drains) {
      if (drain.passed || drain.deadline === null || drain.deadline > now) continue;
      const passed = { ...drain, passed: true };
      this.#drains.set(key, passed);
      news.push({ what: 'deadline', drain: passed });
    }
    return news;
  }

  /** When the next deadline passes; null when none will. */
  next(): number | null {
    let next: number | null = null;
    for (const { deadline, passed } of this.#drains.values()) {
      if (!passed && deadline !== null && (next === null || deadline < next)) next = deadline;
    }
    return next;
  }

  /** The layer (layers.ts). What the configuration itself calls draining needs none before its deadline. */
  layer(): ReadonlyMap<string, Exclude<BackendState, 'active'>> {
    const layer = new Map<string, Exclude<BackendState, 'active'>>();
    for (const { pool, backend, passed } of this.#drains.values()) {
      const key = backendKey(pool, backend);
      if (passed) layer.set(key, 'down');
      else if (!layer.has(key)) layer.set(key, 'draining');
    }
    return layer;
  }

  records(): readonly DrainRecord[] {
    return this.list().map(({ pool, backend, cause, since, deadline }) => ({ pool, backend, cause, since, deadline }));
  }

  /** Takes over what another process of this boot had, in place of what is there. Deadlines that have passed by now count as told. */
  restore(records: readonly DrainRecord[]): void {
    const now = this.#now();
    this.#drains = new Map(
      records.map((record) => {
        const drain = { ...record, passed: record.deadline !== null && record.deadline <= now };
        return [keyOf(record.pool, record.backend, record.cause), drain];
      }),
    );
  }
}

function keyOf(pool: string, backend: string, cause: DrainCause): string {
  return `${cause}/${backendKey(pool, backend)}`;
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
