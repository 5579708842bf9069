/**
 * Builds snapshots from specs, one after another, keeping what must not change between them: ids, tables, previous tables. What a pool object was made into is kept
 * while the same object is wanted: whoever changes one pool of a thousand and leaves the others the objects that they are, pays for one.
 */
import { MAX_BACKENDS, MAX_SERVICES } from '../base/counters.ts';
import { CodedError } from '../base/errors.ts';
import { BackendIdentities, type Numbers, type SavedPieceChanges, type SavedPieces } from './backend-identities.ts';
import { IdentityRegistry, type SavedIdentities, type SavedIdentityChanges } from './identity.ts';
import * as L from './layout.ts';
import { LoopGuard } from './loop-guard.ts';
import {
  contentOf,
  type PoolHistory,
  poolTable,
  restoredHistory,
  type SavedPool,
  sameContent,
  savedPool,
} from './pool-history.ts';
import { type NamedBackend, namesOf, type PoolRecord, poolRecord } from './pool-record.ts';
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
  readonly backends: SavedPieces;
  readonly services: SavedIdentities;
  readonly pools: readonly SavedPool[];
}

/** What changed of it since it was last asked for. */
export interface SavedChanges {
  readonly backends: SavedPieceChanges;
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
  /** Made for the first who asks. */
  readonly names: () => readonly NamedBackend[];
  readonly ends: ReadonlyMap<string, readonly number[]>;
}

/** What the services of the last build were made into. */
interface BuiltServices {
  readonly from: readonly ServiceSpec[];
  readonly guard: LoopGuard;
  readonly part: ServicePart;
  readonly names: SnapshotNames['services'];
}

/** The pools of a build. */
interface BuiltPools {
  /** As they were given, and which of them is at which place by name: the pools' numbers. */
  readonly given: readonly PoolSpec[];
  readonly order: readonly number[];
  /** By number. */
  readonly pools: readonly Built[];
  /** Of all tunnels, each once. */
  readonly ends: readonly (readonly number[])[];
  readonly serverIds: ReturnType<typeof serverIdTable>;
}

export class SnapshotBuilder {
  #generation = 0;
  readonly #backendIds = new BackendIdentities(MAX_BACKENDS);
  readonly #serviceIds = new IdentityRegistry(MAX_SERVICES, 'services');
  /** By name: what was restored, until the first build has taken it over. */
  #restored: ReadonlyMap<string, PoolHistory> = new Map();
  /** null before the first build: then nothing is known of who is there. */
  #built: BuiltPools | null = null;
  #services: BuiltServices | null = null;
  #tables = 0;
  readonly #numbers = new TableNumbers();
  readonly #roots = new RootWriter();
  readonly #memory = new TableMemory();
  readonly #generations = new WeakMap<readonly SharedArrayBuffer[], number>();
  /** Pools with another history than `takeChanges` last told, and pools that are no more. */
  #untold = new Set<string>();
  #lost = new Set<string>();

  /** Changes whenever `save` would answer otherwise than before in a way that matters for flows. */
  get changes(): string {
    return `${this.#backendIds.changes} ${this.#serviceIds.changes} ${this.#tables}`;
  }

  /** For `restore`: of this moment, whatever is built later. */
  save(): SavedState {
    const histories: Iterable<readonly [string, PoolHistory]> =
      this.#built?.pools.map(({ record, history }) => [record.spec.name, history] as const) ?? this.#restored;
    const pools = [...histories].flatMap(([name, history]) => savedPool(name, history) ?? []);
    return { backends: this.#backendIds.save(), services: this.#serviceIds.save(), pools };
  }

  /** What `save` says now has been written down. */
  told(): void {
    this.#backendIds.told();
    this.#serviceIds.told();
    this.#untold = new Set();
    this.#lost = new Set();
  }

  /** How many pools `takeChanges` would tell. */
  get changedPools(): number {
    return this.#untold.size;
  }

  /** What to change of what `save` said at the last `told` or `takeChanges`, to have what it would say now. */
  takeChanges(): SavedChanges {
    const pools: SavedPool[] = [];
    const gone = [...this.#lost];
    for (const { record, history } of this.#built?.pools ?? []) {
      const { name } = record.spec;
      if (!this.#untold.has(name)) continue;
      const saved = savedPool(name, history);
      // A table of scheme glb is not written down.
      if (saved === null) gone.push(name);
      else pools.push(saved);
    }
    this.#untold = new Set();
    this.#lost = new Set();
    return { backends: this.#backendIds.takeChanges(), services: this.#serviceIds.takeChanges(), pools, gone };
  }

  /** Goes on where another builder was; before the first build. Throws RangeError when that can not be true: then build with a new one. */
  restore(saved: SavedState, now: number): void {
    this.#backendIds.restore(saved.backends);
    this.#serviceIds.restore(saved.services);
    this.#restored = new Map(saved.pools.map((pool) => [pool.name, restoredHistory(pool, now)]));
  }

  /** Nobody reads this snapshot any more: its memory is used again. */
  release({ root, tables }: Pick<SnapshotParts, 'root' | 'tables'>): void {
    const generation = this.#generations.get(tables);
    if (generation === undefined) return;
    this.#generations.delete(tables);
    this.#roots.release(root);
    this.#memory.release(generation);
  }

  /**
   * `now`: seconds of the clock that the pipeline is given. Throws CodedError on a spec that contradicts itself, and RangeError on one
   * that no table can be built for; then nothing has changed, and the next build follows the last good one.
   */
  build(spec: Spec, now = 0): SnapshotParts {
    const last = this.#built;
    const areSame = last !== null && haveSameNames(last.given, spec.pools);
    const order = areSame ? last.order : orderByName(spec.pools);
    const pools = order.map((at) => spec.pools[at]);
    const byName = areSame ? null : new Map(last?.pools.map((one) => [one.record.spec.name, one]));
    const before = pools.map((pool, i) => (byName === null ? last?.pools[i] : byName.get(pool.name)));
    const fresh: number[] = [];
    pools.forEach((pool, i) => {
      if (before[i]?.record.spec !== pool) fresh.push(i);
    });
    const numbers = this.#claim(pools, fresh, areSame, now);
    const services = this.#servicesOf(spec.services, pools, fresh, areSame, now);
    const histories = fresh.map((i, n) => this.#historyOf(pools[i], before[i], numbers[n], now));
    const all = before.slice() as Built[];
    fresh.forEach((i, n) => {
      all[i] = builtOf(pools[i], numbers[n], histories[n]);
    });
    const built = together({ given: spec.pools, order, pools: all }, areSame ? last : null, fresh);

    const generation = this.#generation + 1;
    const stay = new Set(areSame ? [] : before);
    const left = areSame || last === null ? [] : last.pools.filter((one) => !stay.has(one));
    const dropped = [...left, ...fresh.flatMap((i) => before[i] ?? [])];
    const tables = this.#numbers.next(
      ...difference(
        dropped,
        fresh.map((i) => all[i]),
      ),
    );
    const root = this.#roots.write({
      generation,
      services: services.part,
      pools: all.map(({ record }) => record),
      histories: all.map(({ history }) => history),
      numberOf: (table) => tables.changed.get(table) ?? this.#numbers.numberOf(table),
      order: tables.order,
      tunnels: built.ends,
      serverIds: built.serverIds,
      limit: this.#backendIds.limit,
      icmp: spec.icmp,
    });

    this.#backendIds.commit(now);
    this.#serviceIds.commit(now);
    this.#note(left, fresh, before, all);
    this.#built = built;
    this.#restored = new Map();
    this.#services = services;
    this.#numbers.take(tables);
    this.#memory.publish(generation, tables.gone, tables.changed.keys());
    this.#generations.set(tables.list, generation);
    this.#generation = generation;
    return { generation, root, tables: tables.list, names: namesFor(services.names, all) };
  }

  /** Remembers what is to be told. */
  #note(left: readonly Built[], fresh: readonly number[], before: readonly (Built | undefined)[], all: readonly Built[]): void {
    let tables = 0;
    for (const { record } of left) {
      this.#untold.delete(record.spec.name);
      this.#lost.add(record.spec.name);
    }
    for (const i of fresh) {
      const { record, history } = all[i];
      const known = before[i]?.history ?? this.#restored.get(record.spec.name);
      if (known === history) continue;
      if (known?.current !== history.current) tables++;
      this.#untold.add(record.spec.name);
      this.#lost.delete(record.spec.name);
    }
    if (tables > 0) this.#tables++;
  }

  /** Ids of the backends of the pools that are new or another, in step with `fresh`; those of the others stay. */
  #claim(pools: readonly PoolSpec[], fresh: readonly number[], areSame: boolean, now: number): Numbers[] {
    if (this.#built === null) this.#backendIds.begin();
    else {
      this.#backendIds.change();
      if (!areSame) {
        const wanted = new Set(pools.map(({ name }) => name));
        for (const { record } of this.#built.pools) if (!wanted.has(record.spec.name)) this.#backendIds.leave(record.spec.name);
      }
    }
    return fresh.map((i) => this.#backendIds.claim(pools[i].name, pools[i].backends, now));
  }

  /** Throws GD_SNAPSHOT_POOL and GD_SNAPSHOT_LOOP. */
  #servicesOf(
    from: readonly ServiceSpec[],
    pools: readonly PoolSpec[],
    fresh: readonly number[],
    areSame: boolean,
    now: number,
  ): BuiltServices {
    const before = this.#services;
    if (areSame && before?.from === from) {
      this.#serviceIds.change();
      before.guard.refuse(fresh.map((i) => pools[i]));
      return before;
    }
    this.#serviceIds.begin();
    const poolNumbers = new Map(pools.map((pool, i) => [pool.name, i]));
    const services = from.map((service): NumberedService => {
      const pool = poolNumbers.get(service.pool);
      if (pool === undefined) {
        throw new CodedError('GD_SNAPSHOT_POOL', `service ${service.name} names pool ${service.pool}, which is not there`);
      }
      return { spec: service, pool, id: this.#serviceIds.claim(service.name, now).id };
    });
    const guard = new LoopGuard(from);
    guard.refuse(pools);
    const byId = new Map(services.map(({ spec, id }) => [id, { id, name: spec.name, pool: spec.pool }]));
    return { from, guard, part: servicePart(services), names: [...byId.values()] };
  }

  /** The pool's history as it is while the table's content is the same; otherwise with a new table, the old one as `previous`. */
  #historyOf(pool: PoolSpec, before: Built | undefined, numbers: Numbers, now: number): PoolHistory {
    const content = contentOf(pool, numbers);
    const history = before?.history ?? this.#restored.get(pool.name);
    if (history !== undefined && sameContent(history.current.content, content)) return history;
    const current = poolTable(pool, numbers, content, (bytes) => this.#memory.take(bytes));
    // GLB's directors keep no flows: what the row says is what its workers expect, from the first packet on.
    if (current.scheme.number === L.SCHEME_GLB) return { current, previous: null, changedAt: now };
    return { current, previous: history?.current ?? null, changedAt: now };
  }
}

function haveSameNames(a: readonly PoolSpec[], b: readonly PoolSpec[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i] && a[i].name !== b[i].name) return false;
  return true;
}

function orderByName(pools: readonly PoolSpec[]): number[] {
  return pools.map((_, i) => i).sort((a, b) => (pools[a].name < pools[b].name ? -1 : 1));
}

function builtOf(pool: PoolSpec, numbers: Numbers, history: PoolHistory): Built {
  const record = poolRecord(pool, numbers);
  const { slotsOf } = history.current;
  // The tables' memory may be another's by the time that somebody asks.
  movedShare(history);
  let names: readonly NamedBackend[] | null = null;
  return {
    record,
    history,
    names: () => {
      names ??= namesOf(record, { slotsOf });
      return names;
    },
    ends: new Map(tunnelEnds([pool]).map((end) => [end.join(), end])),
  };
}

/** With what all pools have in common: as it was in `last`, a build of the same pools, where `fresh` ones change nothing of it. */
function together(
  next: Pick<BuiltPools, 'given' | 'order' | 'pools'>,
  last: BuiltPools | null,
  fresh: readonly number[],
): BuiltPools {
  const { pools } = next;
  const isSame = (i: number) =>
    last !== null &&
    pools[i].ends.size === last.pools[i].ends.size &&
    [...pools[i].ends.keys()].every((key) => last.pools[i].ends.has(key));
  const ends = last !== null && fresh.every(isSame) ? last.ends : [...new Map(pools.flatMap((one) => [...one.ends])).values()];
  const asks = ({ record }: Built) => record.hasServerIds;
  const serverIds =
    last !== null && !fresh.some((i) => asks(pools[i]) || asks(last.pools[i]))
      ? last.serverIds
      : serverIdTable(pools.map(({ record }) => record));
  return { ...next, ends, serverIds };
}

/** Tables that only the one or only the other has: of pools as they were, and as they are. */
function difference(were: readonly Built[], are: readonly Built[]): [gone: SharedArrayBuffer[], come: SharedArrayBuffer[]] {
  const [before, after] = [tablesOf(were), tablesOf(are)];
  return [[...before].filter((table) => !after.has(table)), [...after].filter((table) => !before.has(table))];
}

/** Those in which somebody has a slot. */
function tablesOf(pools: readonly Built[]): Set<SharedArrayBuffer> {
  const tables = new Set<SharedArrayBuffer>();
  for (const { history } of pools) {
    if (history.current.hasSlots) tables.add(history.current.buffer);
    if (history.previous?.hasSlots === true) tables.add(history.previous.buffer);
  }
  return tables;
}

function namesFor(services: SnapshotNames['services'], built: readonly Built[]): SnapshotNames {
  let pools: SnapshotNames['pools'] | null = null;
  let all: NamedBackend[] | null = null;
  // One list of them all is made for the first who asks, behind the change that made it.
  const names: SnapshotNames = {
    services,
    get pools() {
      pools ??= built.map(({ record: { spec }, history }) => {
        const { size, seed, digest } = history.current;
        const scheme = spec.scheme?.name ?? 'maglev';
        const previous = history.previous !== null;
        return { name: spec.name, scheme, tableSize: size, seed, digest, previous, moved: movedShare(history) };
      });
      return pools;
    },
    get backends() {
      all ??= joined(built.map((one) => one.names()));
      return all;
    },
  };
  numberedByPool.set(names, () => new Map(built.map(({ record }) => [record.spec.name, record.numbers.ids])));
  return names;
}

const numberedByPool = new WeakMap<SnapshotNames, () => ReadonlyMap<string, Int32Array>>();

/** The ids of a pool's backends by its name, in the order of the spec that the snapshot was built from; undefined for a pool that is not in it. */
export function backendNumbers(names: SnapshotNames): (pool: Pick<PoolSpec, 'name'>) => Int32Array | undefined {
  const numbers = numberedByPool.get(names)?.();
  return ({ name }) => numbers?.get(name);
}

/** As `lists.flat()`, which grows its result little by little. */
function joined<T>(lists: readonly (readonly T[])[]): T[] {
  const all = new Array<T>(lists.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const list of lists) for (const one of list) all[at++] = one;
  return all;
}
