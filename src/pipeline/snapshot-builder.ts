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
import { type PoolSums, RootWriter } from './root-writer.ts';
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
  readonly records: readonly PoolRecord[];
  readonly histories: readonly PoolHistory[];
  /** Of all tunnels, each once. */
  readonly ends: readonly (readonly number[])[];
  readonly serverIds: ReturnType<typeof serverIdTable>;
  readonly sums: PoolSums;
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
    for (const name of this.#untold) {
      const history = builtNamed(this.#built, name)?.history;
      const saved = history === undefined ? null : savedPool(name, history);
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
    const before: readonly (Built | undefined)[] = areSame
      ? last.pools
      : order.map((at) => builtNamed(last, spec.pools[at].name));
    const fresh: number[] = [];
    for (let i = 0; i < order.length; i++) if (before[i]?.record.spec !== spec.pools[order[i]]) fresh.push(i);
    const wanted = fresh.map((i) => spec.pools[order[i]]);
    const stay = new Set(areSame ? [] : before);
    const left = areSame || last === null ? [] : last.pools.filter((one) => !stay.has(one));

    const numbers = this.#claim(wanted, left, now);
    const services = this.#servicesOf(spec, order, areSame, wanted, now);
    const histories = fresh.map((i, n) => this.#historyOf(wanted[n], before[i], numbers[n], now));
    const made = fresh.map((_, n) => builtOf(wanted[n], numbers[n], histories[n]));
    const built = builtPools(spec.pools, order, before, fresh, made, areSame ? last : null);

    const generation = this.#generation + 1;
    const were = [...left, ...fresh.flatMap((i) => before[i] ?? [])];
    const tables = this.#numbers.next(...difference(were, made));
    const root = this.#roots.write({
      generation,
      services: services.part,
      pools: built.records,
      histories: built.histories,
      changed: areSame ? fresh : null,
      sums: built.sums,
      numberOf: (table) => tables.changed.get(table) ?? this.#numbers.numberOf(table),
      order: tables.order,
      tunnels: built.ends,
      serverIds: built.serverIds,
      limit: this.#backendIds.limit,
      icmp: spec.icmp,
    });

    this.#backendIds.commit(now);
    this.#serviceIds.commit(now);
    this.#note(
      left,
      made,
      fresh.map((i) => before[i]),
    );
    this.#built = built;
    this.#restored = new Map();
    this.#services = services;
    this.#numbers.take(tables);
    this.#memory.publish(generation, tables.gone, tables.changed.keys());
    this.#generations.set(tables.list, generation);
    this.#generation = generation;
    return { generation, root, tables: tables.list, names: namesFor(services.names, built.pools) };
  }

  /** Remembers what is to be told. `before`: of what was made, in step with it. */
  #note(left: readonly Built[], made: readonly Built[], before: readonly (Built | undefined)[]): void {
    let tables = 0;
    for (const { record } of left) {
      this.#untold.delete(record.spec.name);
      this.#lost.add(record.spec.name);
    }
    made.forEach(({ record, history }, n) => {
      const { name } = record.spec;
      const known = before[n]?.history ?? this.#restored.get(name);
      if (known === history) return;
      if (known?.current !== history.current) tables++;
      this.#untold.add(name);
      this.#lost.delete(name);
    });
    if (tables > 0) this.#tables++;
  }

  /** Ids of the backends of the pools that are new or another, in step with them; those of the others stay, but for pools that have left. */
  #claim(wanted: readonly PoolSpec[], left: readonly Built[], now: number): Numbers[] {
    if (this.#built === null) this.#backendIds.begin();
    else this.#backendIds.change();
    for (const { record } of left) this.#backendIds.leave(record.spec.name);
    return wanted.map(({ name, backends }) => this.#backendIds.claim(name, backends, now));
  }

  /** `areSame`: names and numbers of the pools are those of the last build; `fresh`: pools that are new or another. Throws GD_SNAPSHOT_POOL and GD_SNAPSHOT_LOOP. */
  #servicesOf(spec: Spec, order: readonly number[], areSame: boolean, fresh: readonly PoolSpec[], now: number): BuiltServices {
    const before = this.#services;
    const from = spec.services;
    if (areSame && before?.from === from) {
      this.#serviceIds.change();
      before.guard.refuse(fresh);
      return before;
    }
    this.#serviceIds.begin();
    const poolNumbers = new Map(order.map((at, i) => [spec.pools[at].name, i]));
    const services = from.map((service): NumberedService => {
      const pool = poolNumbers.get(service.pool);
      if (pool === undefined) {
        throw new CodedError('GD_SNAPSHOT_POOL', `service ${service.name} names pool ${service.pool}, which is not there`);
      }
      return { spec: service, pool, id: this.#serviceIds.claim(service.name, now).id };
    });
    const guard = new LoopGuard(from);
    guard.refuse(spec.pools);
    const byId = new Map(services.map(({ spec: { name, pool }, id }) => [id, { id, name, pool }]));
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

/** What was made of the pool of a name. */
function builtNamed(built: Pick<BuiltPools, 'pools'> | null, name: string): Built | undefined {
  const pools = built?.pools ?? [];
  let low = 0;
  let high = pools.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const known = pools[middle].record.spec.name;
    if (known === name) return pools[middle];
    if (known < name) low = middle + 1;
    else high = middle - 1;
  }
  return undefined;
}

/** `made`: of those at `fresh`; the others are as `before`. `last`: a build of pools of the same names, whose sums are right where nothing fresh changes them. */
function builtPools(
  given: readonly PoolSpec[],
  order: readonly number[],
  before: readonly (Built | undefined)[],
  fresh: readonly number[],
  made: readonly Built[],
  last: BuiltPools | null,
): BuiltPools {
  const pools = before.slice() as Built[];
  fresh.forEach((i, n) => {
    pools[i] = made[n];
  });
  if (last === null) {
    const records = pools.map(({ record }) => record);
    const histories = pools.map(({ history }) => history);
    return {
      given,
      order,
      pools,
      records,
      histories,
      ends: endsOf(pools),
      serverIds: serverIdTable(records),
      sums: sumsOf(pools),
    };
  }
  const [records, histories] = [last.records.slice(), last.histories.slice()];
  fresh.forEach((i, n) => {
    records[i] = made[n].record;
    histories[i] = made[n].history;
  });
  const isSame = (what: (now: Built, was: Built) => boolean) => fresh.every((i, n) => what(made[n], last.pools[i]));
  const ends = isSame(haveSameEnds) ? last.ends : endsOf(pools);
  const serverIds = isSame(haveNoServerIds) ? last.serverIds : serverIdTable(records);
  const sums = isSame(addTheSame) ? last.sums : sumsOf(pools);
  return { given, order, pools, records, histories, ends, serverIds, sums };
}

function endsOf(pools: readonly Built[]): (readonly number[])[] {
  const ends = new Map<string, readonly number[]>();
  for (const one of pools) for (const [key, end] of one.ends) ends.set(key, end);
  return [...ends.values()];
}

function haveSameEnds(now: Built, was: Built): boolean {
  return now.ends.size === was.ends.size && [...now.ends.keys()].every((key) => was.ends.has(key));
}

function haveNoServerIds(now: Built, was: Built): boolean {
  return !now.record.hasServerIds && !was.record.hasServerIds;
}

function isStateless({ history }: Built): boolean {
  return history.current.scheme.number === L.SCHEME_GLB;
}

function sumsOf(pools: readonly Built[]): PoolSums {
  return {
    stateless: pools.reduce((sum, one) => sum + (isStateless(one) ? 1 : 0), 0),
    mostOverhead: pools.reduce((most, { record }) => Math.max(most, record.mostOverhead), 0),
    extras: pools.reduce((sum, { record }) => sum + record.extras, 0),
  };
}

function addTheSame(now: Built, was: Built): boolean {
  const [a, b] = [now.record, was.record];
  return isStateless(now) === isStateless(was) && a.mostOverhead === b.mostOverhead && a.extras === b.extras;
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
  builtByNames.set(names, built);
  return names;
}

const builtByNames = new WeakMap<SnapshotNames, readonly Built[]>();

/** The ids of a pool's backends by its name, in the order of the spec that the snapshot was built from; undefined for a pool that is not in it. */
export function backendNumbers(names: SnapshotNames): (pool: Pick<PoolSpec, 'name'>) => Int32Array | undefined {
  const pools = builtByNames.get(names) ?? [];
  return ({ name }) => builtNamed({ pools }, name)?.record.numbers.ids;
}

/** As `lists.flat()`, which grows its result little by little. */
function joined<T>(lists: readonly (readonly T[])[]): T[] {
  const all = new Array<T>(lists.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const list of lists) for (const one of list) all[at++] = one;
  return all;
}
