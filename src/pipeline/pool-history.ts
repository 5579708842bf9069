/**
 * A pool's current table and the one before it, and both of them across a restart: what they were made of is written down
 * (daemon/flow-identities.ts), and the tables are made again.
 */
import type { Numbers } from './backend-identities.ts';
import * as L from './layout.ts';
import { buildPoolTable, digestOf, schemeKey, slotCounts } from './pool-table.ts';
import { type SchemeBlock, schemeBlock } from './scheme-block.ts';
import type { BackendSpec, PoolSpec, SchemeSpec, TunnelSpec } from './spec.ts';

/**
 * How long the table before a change answers for flows without an entry. A TCP packet that is no SYN proves an older flow, so long
 * is right. A UDP packet does not: it may well start a flow, which a new backend should get its share of; so only for as
 * long as a living UDP flow may pause.
 */
export const PREVIOUS_SECONDS = 3600;
export const PREVIOUS_SECONDS_OTHERS = 60;

/** What a table is made of: pools with the same have the same table, for the same backends. */
export interface TableContent {
  /** Scheme, size and seed. */
  readonly made: string;
  /** CONTENT_WORDS of each member: id, since, weight, state as the scheme sees it. An id and its `since` stand for one name and address. */
  readonly members: Int32Array;
}

const CONTENT_WORDS = 4;

/** A pool's table as one build left it. */
export interface PoolTable {
  readonly scheme: SchemeBlock;
  readonly content: TableContent;
  readonly buffer: SharedArrayBuffer;
  readonly size: number;
  readonly seed: number;
  /** Member words (layout.ts) by pool-local number. */
  readonly members: Int32Array;
  readonly digest: string;
  /** As schemeKey (pool-table.ts). */
  readonly key: string;
  /** Somebody has a slot. */
  readonly hasSlots: boolean;
  /** Slots by backend id, of those who have any. */
  readonly slotsOf: () => ReadonlyMap<number, number>;
  /** What it was made of; null for one that is never a previous table. */
  readonly saved: SavedTable | null;
}

export interface PoolHistory {
  readonly current: PoolTable;
  readonly previous: PoolTable | null;
  /** Seconds when `current` took over. */
  readonly changedAt: number;
}

/** A backend as its table was made of it. */
export type TabledBackend = Pick<BackendSpec, 'name' | 'address' | 'weight' | 'state'>;

/** What a table was made of: backends in the order of the configuration, their numbers in step. */
export interface SavedTable extends Numbers {
  readonly scheme: SchemeSpec;
  readonly tableSize: number;
  readonly seed: number;
  readonly backends: readonly TabledBackend[];
}

export interface SavedPool {
  readonly name: string;
  readonly current: SavedTable;
  readonly previous: SavedTable | null;
  /** Seconds when `current` took over. */
  readonly changedAt: number;
}

/** `numbers`: of the pool's backends. */
export function contentOf(pool: PoolSpec, { ids, sinces }: Numbers): TableContent {
  const name = pool.scheme?.name ?? 'maglev';
  const made = `${name === 'maglev' ? '' : JSON.stringify(pool.scheme)} ${pool.tableSize} ${pool.seed}`;
  const members = new Int32Array(ids.length * CONTENT_WORDS);
  let at = 0;
  let isAscending = true;
  for (let i = 0; i < ids.length; i++) {
    const backend = pool.backends[i];
    const state = stateIn(name, backend);
    if (state === OUT) continue;
    if (at > 0 && members[at - CONTENT_WORDS] > ids[i]) isAscending = false;
    members[at] = ids[i];
    members[at + 1] = sinces[i];
    members[at + 2] = backend.weight;
    members[at + 3] = state;
    at += CONTENT_WORDS;
  }
  const used = members.subarray(0, at);
  // Only ipvs-mh has an order of its own, and tells those that are down from those that are draining. With maglev both keep their place.
  return { made, members: name === 'ipvs-mh' || isAscending ? used : byId(used) };
}

export function sameContent(a: TableContent, b: TableContent): boolean {
  if (a.made !== b.made || a.members.length !== b.members.length) return false;
  for (let i = 0; i < a.members.length; i++) if (a.members[i] !== b.members[i]) return false;
  return true;
}

function byId(members: Int32Array): Int32Array {
  const order = Array.from({ length: members.length / CONTENT_WORDS }, (_, n) => n * CONTENT_WORDS);
  order.sort((a, b) => members[a] - members[b]);
  const sorted = new Int32Array(members.length);
  order.forEach((from, n) => {
    sorted.set(members.subarray(from, from + CONTENT_WORDS), n * CONTENT_WORDS);
  });
  return sorted;
}

const OUT = -1;
const STATES = { active: 0, draining: 1, down: 2 } as const;
/** Of a maglev table, not taking new flows, whether draining or down. */
const PLACED = 1;

/** What a backend's state means for the table: OUT of it, or how it stands in it. */
function stateIn(scheme: SchemeSpec['name'], { state, weight }: BackendSpec): number {
  if (scheme === 'ipvs-mh' || scheme === 'glb') return STATES[state];
  if (weight === 0) return OUT;
  if (state === 'active') return STATES.active;
  return scheme === 'maglev' ? PLACED : OUT;
}

/** `numbers`: of the pool's backends. `memory`: gives the table's. */
export function poolTable(
  pool: PoolSpec,
  numbers: Numbers,
  content: TableContent,
  memory = (bytes: number) => new SharedArrayBuffer(bytes),
): PoolTable {
  const built = buildPoolTable(pool);
  const length = built.slots.length;
  const buffer = memory((built.seconds === null ? 1 : 2) * built.slots.byteLength);
  const slots = new Uint16Array(buffer);
  slots.set(built.slots);
  if (built.seconds !== null) slots.set(built.seconds, length);
  const ids = idsOf(built.backends, pool.backends, numbers.ids);
  const counts = slotCounts(built);
  const members = ids.slice();
  built.unavailable.forEach((unavailable, i) => {
    if (unavailable) members[i] |= L.MEMBER_UNAVAILABLE;
  });
  let owned: Map<number, number> | null = null;
  return {
    scheme: schemeBlock(pool, built.unavailable),
    content,
    buffer,
    size: pool.tableSize,
    seed: pool.seed,
    members,
    digest: digestOf(pool, built),
    key: schemeKey(pool),
    hasSlots: counts.some((count) => count > 0),
    // Made for the first who asks: most do not.
    slotsOf: () => {
      owned ??= new Map([...ids].flatMap((id, i) => (counts[i] > 0 ? [[id, counts[i]] as const] : [])));
      return owned;
    },
    saved: savedTable(pool, numbers),
  };
}

/** Ids of `some` of all backends. Mostly they are in the same order, and some left out. */
function idsOf(some: readonly BackendSpec[], all: readonly BackendSpec[], ids: Int32Array): Int32Array {
  const found = new Int32Array(some.length).fill(-1);
  let from = 0;
  for (let i = 0; i < some.length; i++) {
    while (from < all.length && all[from] !== some[i]) from++;
    if (from === all.length) return idsAnyhow(some, all, ids);
    found[i] = ids[from++];
  }
  return found;
}

function idsAnyhow(some: readonly BackendSpec[], all: readonly BackendSpec[], ids: Int32Array): Int32Array {
  const byBackend = new Map(all.map((backend, i) => [backend, ids[i]]));
  return Int32Array.from(some, (backend) => byBackend.get(backend) ?? -1);
}

/** null for a scheme whose table is never a previous one. */
function savedTable({ scheme = { name: 'maglev' }, tableSize, seed, backends }: PoolSpec, numbers: Numbers): SavedTable | null {
  return scheme.name === 'glb' ? null : { scheme, tableSize, seed, backends, ids: numbers.ids, sinces: numbers.sinces };
}

/** null for a pool whose tables are not worth being written down (glb). */
export function savedPool(name: string, { current, previous, changedAt }: PoolHistory): SavedPool | null {
  return current.saved === null ? null : { name, current: current.saved, previous: previous?.saved ?? null, changedAt };
}

/** No part of a table, but of every pool. */
const NO_TUNNEL: TunnelSpec = { encapsulation: 'gue', port: 0, source4: null, source6: null, checksum: 'none' };

/** The history that was saved, its tables made again; without a previous one that no longer answers. Throws RangeError on what can not be. */
export function restoredHistory({ name, current, previous, changedAt }: SavedPool, now: number): PoolHistory {
  const remake = ({ scheme, tableSize, seed, backends, ids, sinces }: SavedTable): PoolTable => {
    const pool: PoolSpec = { name, scheme, tableSize, seed, tunnel: NO_TUNNEL, backends };
    const numbers = { ids, sinces };
    return poolTable(pool, numbers, contentOf(pool, numbers));
  };
  const answers = now < changedAt + PREVIOUS_SECONDS;
  return { current: remake(current), previous: previous === null || !answers ? null : remake(previous), changedAt };
}
