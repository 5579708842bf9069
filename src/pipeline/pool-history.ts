/**
 * A pool's current table and the one before it, and both of them across a restart: what they were made of is written down as plain data that
 * JSON can hold, and the tables are made again.
 */
import { formatAddress } from '../base/address.ts';
import * as L from './layout.ts';
import { buildPoolTable, digestOf, schemeKey, slotCounts } from './pool-table.ts';
import { type SchemeBlock, schemeBlock } from './scheme-block.ts';
import type { BackendSpec, BackendState, PoolSpec, SchemeSpec, TunnelSpec } from './spec.ts';

/**
 * How long the table before a change answers for flows without an entry. A TCP packet that is no SYN proves an older flow, so long
 * is right. A UDP packet does not: it may well start a flow, which a new backend should get its share of; so only for as
 * long as a living UDP flow may pause.
 */
export const PREVIOUS_SECONDS = 3600;
export const PREVIOUS_SECONDS_OTHERS = 60;

/** A pool's table as one build left it. `members` are member words (layout.ts) by pool-local number. */
export interface PoolTable {
  readonly scheme: SchemeBlock;
  readonly content: string;
  readonly buffer: SharedArrayBuffer;
  readonly size: number;
  readonly seed: number;
  readonly members: readonly number[];
  readonly digest: string;
  /** As schemeKey (pool-table.ts). */
  readonly key: string;
  readonly slots: ReadonlyMap<number, number>;
  /** What it was made of; null for one that is never a previous table. */
  readonly saved: SavedTable | null;
}

export interface PoolHistory {
  readonly current: PoolTable;
  readonly previous: PoolTable | null;
  /** Seconds when `current` took over. */
  readonly changedAt: number;
}

/** Id of a backend, and seconds when it was given. */
export interface Numbered {
  readonly id: number;
  readonly since: number;
}

/** [name, address in hexadecimal, weight, state, id, seconds when the id was given] */
export type SavedBackend = readonly [string, string, number, BackendState, number, number];

/** What a table was made of, backends in the order of the configuration. */
export interface SavedTable {
  readonly scheme: SchemeSpec;
  readonly tableSize: number;
  readonly seed: number;
  readonly backends: readonly SavedBackend[];
}

export interface SavedPool {
  readonly name: string;
  readonly current: SavedTable;
  readonly previous: SavedTable | null;
  /** Seconds when `current` took over. */
  readonly changedAt: number;
}

/** What the pool's table is made of, as text: pools with the same have the same table, for the same backends. */
export function contentOf(pool: PoolSpec, numbers: readonly Numbered[]): string {
  const name = pool.scheme?.name ?? 'maglev';
  const isPeers = name === 'ipvs-mh' || name === 'glb';
  const order: number[] = [];
  for (let i = 0; i < numbers.length; i++) {
    const backend = pool.backends[i];
    if (isPeers || (backend.weight > 0 && stateIn(name, backend) !== 'out')) order.push(i);
  }
  // Only ipvs-mh has an order of its own, and tells those that are down from those that are draining. With maglev both keep their place.
  if (name !== 'ipvs-mh') order.sort((a, b) => numbers[a].id - numbers[b].id);
  let content = `${name === 'maglev' ? '' : JSON.stringify(pool.scheme)} ${pool.tableSize} ${pool.seed}`;
  for (const i of order) {
    const backend = pool.backends[i];
    const { id, since } = numbers[i];
    content += `\n${id} ${since} ${formatAddress(backend.address)} ${backend.weight} ${stateIn(name, backend)}`;
  }
  return content;
}

/** What a backend's state means for the table: `out` of it, or how it stands in it. */
function stateIn(scheme: string, { state }: BackendSpec): string {
  if (scheme === 'ipvs-mh' || scheme === 'glb' || state === 'active') return state;
  return scheme === 'maglev' ? 'placed' : 'out';
}

/** `numbers`: of the pool's backends, in order. `memory`: gives the table's. */
export function poolTable(
  pool: PoolSpec,
  numbers: readonly Numbered[],
  content: string,
  memory = (bytes: number) => new SharedArrayBuffer(bytes),
): PoolTable {
  const ids = new Map<BackendSpec, number>();
  for (let i = 0; i < numbers.length; i++) ids.set(pool.backends[i], numbers[i].id);
  const built = buildPoolTable(pool);
  const length = built.slots.length;
  const buffer = memory((built.seconds === null ? 1 : 2) * built.slots.byteLength);
  const slots = new Uint16Array(buffer);
  slots.set(built.slots);
  if (built.seconds !== null) slots.set(built.seconds, length);
  const numbered = built.backends.map((spec) => ids.get(spec) ?? -1);
  const counts = slotCounts(built);
  const owned = new Map<number, number>();
  for (let i = 0; i < numbered.length; i++) if (counts[i] > 0) owned.set(numbered[i], counts[i]);
  let saved: SavedTable | null | undefined;
  return {
    scheme: schemeBlock(pool, built.unavailable),
    content,
    buffer,
    size: pool.tableSize,
    seed: pool.seed,
    members: numbered.map((id, i) => (built.unavailable[i] ? id | L.MEMBER_UNAVAILABLE : id)),
    digest: digestOf(pool, built),
    key: schemeKey(pool),
    slots: owned,
    // Wanted when it is written down, and by whoever compares two tables: not by most.
    get saved() {
      if (saved === undefined) saved = savedTable(pool, numbers);
      return saved;
    },
  };
}

/** null for a scheme whose table is never a previous one. */
function savedTable(pool: PoolSpec, numbers: readonly Numbered[]): SavedTable | null {
  const scheme = pool.scheme ?? { name: 'maglev' };
  if (scheme.name === 'glb') return null;
  const { tableSize, seed } = pool;
  const backends = pool.backends.map(({ name, address, weight, state }, i): SavedBackend => {
    return [name, hexOf(address), weight, state, numbers[i].id, numbers[i].since];
  });
  return { scheme, tableSize, seed, backends };
}

/** null for a pool whose tables are not worth being written down (glb). */
export function savedPool(name: string, { current, previous, changedAt }: PoolHistory): SavedPool | null {
  return current.saved === null ? null : { name, current: current.saved, previous: previous?.saved ?? null, changedAt };
}

/** No part of a table, but of every pool. */
const NO_TUNNEL: TunnelSpec = { encapsulation: 'gue', port: 0, source4: null, source6: null, checksum: 'none' };

/** The history that was saved, its tables made again; without a previous one that no longer answers. Throws RangeError on what can not be. */
export function restoredHistory({ name, current, previous, changedAt }: SavedPool, now: number): PoolHistory {
  const remake = ({ scheme, tableSize, seed, backends }: SavedTable): PoolTable => {
    const specs = backends.map(([own, address, weight, state]) => ({ name: own, address: bytesOf(address), weight, state }));
    const pool: PoolSpec = { name, scheme, tableSize, seed, tunnel: NO_TUNNEL, backends: specs };
    const numbers = backends.map(([, , , , id, since]) => ({ id, since }));
    return poolTable(pool, numbers, contentOf(pool, numbers));
  };
  const answers = now < changedAt + PREVIOUS_SECONDS;
  return { current: remake(current), previous: previous === null || !answers ? null : remake(previous), changedAt };
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

function hexOf(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX[byte];
  return text;
}

function bytesOf(hex: string): Uint8Array {
  if (!/^(?:[0-9a-f]{8}|[0-9a-f]{32})$/.test(hex)) throw new RangeError(`no address: ${hex}`);
  return Uint8Array.from(hex.match(/../g) as string[], (pair) => Number.parseInt(pair, 16));
}
