/**
 * Builds snapshots from specs, one after another, keeping what must not change between them: ids, tables, previous tables. What a pool object was made into is kept
 * while the same object is wanted: whoever changes one pool of a thousand and leaves the others the objects that they are, pays for one.
 */
import { MAX_BACKENDS, MAX_SERVICES } from '../base/counters.ts';
import { CodedError } from '../base/errors.ts';
import { IdentityRegistry, type SavedIdentities, type SavedIdentityChanges } from './identity.ts';
import * as L from './layout.ts';
import { LoopGuard } from './loop-guard.ts';
import { contentOf, type PoolHistory, poolTable, restoredHistory, type SavedPool, savedPool } from './pool-history.ts';
import { identityOf, type NamedBackend, namesOf, type PoolRecord, poolRecord } from './pool-record.ts';
import { serverIdTable } from './protocol-words.ts';
import { RootWriter } from './root-writer.ts';
import { type NumberedService, type ServicePart, servicePart } from './service-part.ts';
import type { SnapshotNames, SnapshotParts } from './snapshot.ts';
import type { PoolSpec, ServiceSpec, Spec } from './spec.ts';
import { TableMemory } from './table-memory.ts';
import { movedShare } from './table-moves.ts';
import { TableNumbers } from './table-numbers.ts';
import { tunnelEnds } from './tunnel-ends.ts';

/** What a builder must know after a restart so that flows stay: which id names which backend, and of what the pools' tables were made. */
export interface SavedState {
  readonly backends: SavedIdentities;
  readonly services: SavedIdentities;
  readonly pools: readonly SavedPool[];
}

/** What changed of it since it was last asked for. */
export interface SavedChanges {
  readonly backends: SavedIdentityChanges;
  readonly services: SavedIdentityChanges;
  /** Those that are new or another. */
  readonly pools: readonly SavedPool[];
  /** Names of pools of which nothing is to be known any more. */
  readonly gone: readonly string[];
}

/** What one pool object was made into. */
interface Built {
  readonly record: PoolRecord;
  readonly history: PoolHistory;
  readonly names: readonly NamedBackend[];
  readonly ends: readonly (readonly number[])[];
}

/** What the services of the last build were made into. */
interface BuiltServices {
  readonly from: readonly ServiceSpec[];
  readonly poolNames: readonly string[];
  readonly guard: LoopGuard;
  readonly part: ServicePart;
  readonly names: SnapshotNames['services'];
}

export class SnapshotBuilder {
  #generation = 0;
  readonly #backendIds = new IdentityRegistry(MAX_BACKENDS, 'backends');
  readonly #serviceIds = new IdentityRegistry(MAX_SERVICES, 'services');
  #histories = new Map<string, PoolHistory>();
  /** By name; null before the first build: then nothing is known of who is there. */
  #built: ReadonlyMap<string, Built> | null = null;
  #services: BuiltServices | null = null;
  #tables = 0;
  #numbers = new TableNumbers();
  readonly #roots = new RootWriter();
  readonly #memory = new TableMemory();
  readonly #released = new WeakSet<readonly SharedArrayBuffer[]>();
  /** Histories as `takeChanges` last told them. */
  #told = new Map<string, PoolHistory>();

  /** Changes whenever `save` would answer otherwise than before in a way that matters for flows. */
  get changes(): string {
    return `${this.#backendIds.changes} ${this.#serviceIds.changes} ${this.#tables}`;
  }

  /** For `restore`. */
  save(): SavedState {
    const pools = [...this.#histories].flatMap(([name, history]) => savedPool(name, history) ?? []);
    return { backends: this.#backendIds.save(), services: this.#serviceIds.save(), pools };
  }

  /** What `save` says now has been written down. */
  told(): void {
    this.#backendIds.told();
    this.#serviceIds.told();
    this.#told = new Map(this.#histories);
  }

  /** How many pools `takeChanges` would tell. */
  get changedPools(): number {
    let changed = 0;
    for (const [name, history] of this.#histories) if (this.#told.get(name) !== history) changed++;
    return changed;
  }

  /** What to change of what `save` said at the last `told` or `takeChanges`, to have what it would say now. */
  takeChanges(): SavedChanges {
    const told = this.#told;
    this.#told = new Map(this.#histories);
    const pools = [...this.#histories].flatMap(([name, history]) =>
      told.get(name) === history ? [] : (savedPool(name, history) ?? []),
    );
    // A table of scheme glb is not written down.
    const kept = (name: string) => (this.#histories.get(name)?.current.scheme.number ?? L.SCHEME_GLB) !== L.SCHEME_GLB;
    const gone = [...told.keys()].filter((name) => !kept(name));
    return { backends: this.#backendIds.takeChanges(), services: this.#serviceIds.takeChanges(), pools, gone };
  }

  /** Goes on where another builder was; before the first build. Throws RangeError when that can not be true: then build with a new one. */
  restore(saved: SavedState, now: number): void {
    this.#backendIds.restore(saved.backends);
    this.#serviceIds.restore(saved.services);
    this.#histories = new Map(saved.pools.map((pool) => [pool.name, restoredHistory(pool, now)]));
  }

  /** Nobody reads this snapshot any more: its memory is used again. */
  release({ root, tables }: Pick<SnapshotParts, 'root' | 'tables'>): void {
    if (this.#released.has(tables)) return;
    this.#released.add(tables);
    this.#roots.release(root);
    this.#memory.release(tables);
  }

  /**
   * `now`: seconds of the clock that the pipeline is given. Throws CodedError on a spec that contradicts itself, and RangeError on one
   * that no table can be built for; then nothing has changed, and the next build follows the last good one.
   */
  build(spec: Spec, now = 0): SnapshotParts {
    const pools = [...spec.pools].sort((a, b) => (a.name < b.name ? -1 : 1));
    const built = this.#built;
    const known = (pool: PoolSpec) => {
      const before = built?.get(pool.name);
      return before?.record.spec === pool ? before : undefined;
    };
    const fresh = pools.filter((pool) => known(pool) === undefined);
    const numbers = this.#claim(pools, fresh, now);
    const services = this.#servicesOf(spec.services, pools, fresh, now);
    const histories = new Map(fresh.map((pool) => [pool, this.#historyOf(pool, numbers.get(pool) ?? [], now)]));
    const all = pools.map(
      (pool): Built => known(pool) ?? builtOf(pool, numbers.get(pool) ?? [], histories.get(pool) as PoolHistory),
    );

    const generation = this.#generation + 1;
    const tables = this.#numbers.next(all.map(({ history }) => history));
    const root = this.#roots.write({
      generation,
      services: services.part,
      pools: all.map(({ record }) => record),
      histories: all.map(({ history }) => history),
      tables: tables.numbers,
      tunnels: [...new Map(all.flatMap(({ ends }) => ends.map((end) => [end.join(), end] as const))).values()],
      serverIds: serverIdTable(
        all.flatMap(({ record }, pool) => (record.hasServerIds ? record.backends.map((one) => ({ ...one, pool })) : [])),
      ),
      limit: this.#backendIds.limit,
      icmp: spec.icmp,
    });

    this.#backendIds.commit(now);
    this.#serviceIds.commit(now);
    const next = new Map(all.map((one) => [one.record.spec.name, one.history]));
    if (fresh.some(({ name }) => next.get(name)?.current !== this.#histories.get(name)?.current)) this.#tables++;
    this.#histories = next;
    this.#built = new Map(all.map((one) => [one.record.spec.name, one]));
    this.#services = services;
    this.#numbers = tables;
    this.#memory.use(tables.list);
    this.#generation = generation;
    const names = namesFor(services.names, pools, all);
    return { generation, root, tables: tables.list, names };
  }

  /** Ids of the backends of the pools that are new or another; those of the others stay. By pool, in its order. */
  #claim(pools: readonly PoolSpec[], fresh: readonly PoolSpec[], now: number) {
    if (this.#built === null) this.#backendIds.begin();
    else {
      this.#backendIds.change();
      const changed = new Set(fresh.map(({ name }) => name));
      const wanted = new Set(pools.map(({ name }) => name));
      for (const [name, { record }] of this.#built) {
        if (wanted.has(name) && !changed.has(name)) continue;
        for (const backend of record.spec.backends) this.#backendIds.leave(identityOf(record.spec, backend));
      }
    }
    this.#serviceIds.begin();
    return new Map(
      fresh.map((pool) => [pool, pool.backends.map((one) => this.#backendIds.claim(identityOf(pool, one), now))] as const),
    );
  }

  /** Throws GD_SNAPSHOT_POOL and GD_SNAPSHOT_LOOP. */
  #servicesOf(from: readonly ServiceSpec[], pools: readonly PoolSpec[], fresh: readonly PoolSpec[], now: number): BuiltServices {
    const poolNumbers = new Map(pools.map((pool, i) => [pool.name, i]));
    const services = from.map((service): NumberedService => {
      const pool = poolNumbers.get(service.pool);
      if (pool === undefined) {
        throw new CodedError('GD_SNAPSHOT_POOL', `service ${service.name} names pool ${service.pool}, which is not there`);
      }
      return { spec: service, pool, id: this.#serviceIds.claim(service.name, now).id };
    });
    const before = this.#services;
    const guard = before?.from === from ? before.guard : new LoopGuard(from);
    guard.refuse(guard === before?.guard ? fresh : pools);
    const names = [...poolNumbers.keys()];
    const isSame = before?.from === from && before.poolNames.length === names.length;
    if (isSame && before.poolNames.every((name, i) => name === names[i])) return before;
    const byId = new Map(services.map(({ spec, id }) => [id, { id, name: spec.name, pool: spec.pool }]));
    return { from, poolNames: names, guard, part: servicePart(services), names: [...byId.values()] };
  }

  /** The pool's history as it is while the table's content is the same; otherwise with a new table, the old one as `previous`. */
  #historyOf(pool: PoolSpec, numbers: readonly { id: number; since: number }[], now: number): PoolHistory {
    const content = contentOf(pool, numbers);
    const history = this.#histories.get(pool.name);
    if (history?.current.content === content) return history;
    const current = poolTable(pool, numbers, content, (bytes) => this.#memory.take(bytes));
    // GLB's directors keep no flows: what the row says is what its workers expect, from the first packet on.
    if (current.scheme.number === L.SCHEME_GLB) return { current, previous: null, changedAt: now };
    return { current, previous: history?.current ?? null, changedAt: now };
  }
}

function builtOf(pool: PoolSpec, numbers: readonly { id: number; since: number }[], history: PoolHistory): Built {
  const record = poolRecord(pool, numbers);
  return { record, history, names: namesOf(record, history.current), ends: tunnelEnds([pool]) };
}

function namesFor(services: SnapshotNames['services'], pools: readonly PoolSpec[], built: readonly Built[]): SnapshotNames {
  let all: NamedBackend[] | null = null;
  const names: SnapshotNames = {
    services,
    pools: pools.map((pool, i) => {
      const { history } = built[i];
      const { size, seed, digest } = history.current;
      const scheme = pool.scheme?.name ?? 'maglev';
      const previous = history.previous !== null;
      return { name: pool.name, scheme, tableSize: size, seed, digest, previous, moved: movedShare(history) };
    }),
    // One list of them all is made for the first who asks, behind the change that made it.
    get backends() {
      all ??= joined(built.map((one) => one.names));
      return all;
    },
  };
  namedByPool.set(names, () => new Map(built.map((one) => [one.record.spec.name, one.names])));
  return names;
}

const namedByPool = new WeakMap<SnapshotNames, () => ReadonlyMap<string, readonly NamedBackend[]>>();

/** The names of the backends by pool, each list in the order of the pool's spec. */
export function backendNames(names: SnapshotNames): ReadonlyMap<string, readonly NamedBackend[]> {
  const known = namedByPool.get(names);
  if (known !== undefined) return known();
  const byPool = new Map<string, NamedBackend[]>();
  for (const one of names.backends) {
    const others = byPool.get(one.pool);
    if (others === undefined) byPool.set(one.pool, [one]);
    else others.push(one);
  }
  return byPool;
}

/** As `lists.flat()`, which grows its result little by little. */
function joined<T>(lists: readonly (readonly T[])[]): T[] {
  const all = new Array<T>(lists.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const list of lists) for (const one of list) all[at++] = one;
  return all;
}
