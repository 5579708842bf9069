/**
 * What the flow table's ids mean as directors before version 3 of its file wrote it (flow-identities.ts): every backend by itself, and each twice. A director that is
 * upgraded picks up what its predecessor wrote.
 */
import { parseHostAddress } from '../config/address.ts';
import type { GoneMember, Member, PoolPiece } from '../pipeline/backend-identities.ts';
import type { SavedIdentities, SavedIdentityChanges } from '../pipeline/identity.ts';
import type { SavedPool, SavedTable } from '../pipeline/pool-history.ts';
import type { SavedState } from '../pipeline/snapshot.ts';
import type { BackendState, SchemeSpec } from '../pipeline/spec.ts';
import { bytesOf } from './identities-text.ts';

interface TableBefore {
  readonly scheme: SchemeSpec;
  readonly tableSize: number;
  readonly seed: number;
  readonly backends: readonly (readonly [
    name: string,
    address: string,
    weight: number,
    state: BackendState,
    id: number,
    since: number,
  ])[];
}

interface PoolBefore {
  readonly name: string;
  readonly current: TableBefore;
  readonly previous: TableBefore | null;
  readonly changedAt: number;
}

export interface StateBefore {
  readonly backends: SavedIdentities;
  readonly services: SavedIdentities;
  readonly pools: readonly PoolBefore[];
}

export interface ChangesBefore {
  readonly backends: SavedIdentityChanges;
  readonly services: SavedIdentityChanges;
  readonly pools: readonly PoolBefore[];
  readonly gone: readonly string[];
}

/** `changes`: oldest first. Throws RangeError or TypeError on what can not have been written. */
export function stateOfBefore(state: StateBefore, changes: readonly ChangesBefore[]): SavedState {
  const pools = new Map(state.pools.map((pool) => [pool.name, pool]));
  for (const change of changes) {
    for (const name of change.gone) pools.delete(name);
    for (const pool of change.pools) pools.set(pool.name, pool);
  }
  const of = (which: 'backends' | 'services') =>
    changedIdentities(
      state[which],
      changes.map((change) => change[which]),
    );
  const backends = of('backends');
  return {
    backends: { next: backends.next, pools: piecesOf(backends) },
    services: of('services'),
    pools: [...pools.values()].map(poolOf),
  };
}

/** `identities` with `changes`, oldest first. */
export function changedIdentities(identities: SavedIdentities, changes: readonly SavedIdentityChanges[]): SavedIdentities {
  const holders = new Map(identities.holders.map((holder) => [holder[0], holder]));
  let { next } = identities;
  for (const change of changes) {
    next = change.next;
    for (const identity of change.forgotten) holders.delete(identity);
    for (const holder of change.holders) holders.set(holder[0], holder);
  }
  return { next, holders: [...holders.values()] };
}

/** Holders were named by pool, name and text of the address, with a NUL between. */
function piecesOf({ holders }: SavedIdentities): PoolPiece[] {
  const pools = new Map<string, { present: Member[]; ids: number[]; sinces: number[]; gone: GoneMember[] }>();
  for (const [identity, id, since, gone] of holders) {
    const [pool, name, text] = identity.split('\0');
    const address = parseHostAddress(text ?? '').value;
    if (address === null) throw new RangeError(`no backend: ${identity}`);
    const piece = pools.get(pool) ?? { present: [], ids: [], sinces: [], gone: [] };
    pools.set(pool, piece);
    if (gone !== null) {
      piece.gone.push({ name, address, id, since, gone });
      continue;
    }
    piece.present.push({ name, address });
    piece.ids.push(id);
    piece.sinces.push(since);
  }
  return [...pools].map(([pool, { present, ids, sinces, gone }]) => {
    return { pool, present, ids: Int32Array.from(ids), sinces: Int32Array.from(sinces), gone };
  });
}

function poolOf({ name, current, previous, changedAt }: PoolBefore): SavedPool {
  return { name, current: tableOf(current), previous: previous === null ? null : tableOf(previous), changedAt };
}

function tableOf({ scheme, tableSize, seed, backends }: TableBefore): SavedTable {
  return {
    scheme,
    tableSize,
    seed,
    backends: backends.map(([name, address, weight, state]) => ({ name, address: bytesOf(address), weight, state })),
    ids: Int32Array.from(backends, ([, , , , id]) => id),
    sinces: Int32Array.from(backends, ([, , , , , since]) => since),
  };
}
