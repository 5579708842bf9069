/** Which of the flows that have an entry a configuration would move: those whose backend it removes, or calls down. */
import { formatAddress } from '../base/address.ts';
import type { BackendFlows } from '../control/plan.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import type { BackendEntries } from './flow-census.ts';

export interface MovingFlows {
  /** Entries used in the last ten minutes, whose backend is configured now. */
  readonly entries: number;
  /** Of those, seen more than once. */
  readonly confirmed: number;
  /** Entries whose backend would no longer serve: these flows are steered anew. */
  readonly moving: number;
  readonly movingConfirmed: number;
  /** Only backends that would no longer serve. */
  readonly backends: readonly BackendFlows[];
}

/** `names`: of the snapshot that the entries name backends of; `wanted`: what would be in force. */
export function movingFlows(names: SnapshotNames, wanted: Spec, found: ReadonlyMap<number, BackendEntries>): MovingFlows {
  const states = new Map(
    wanted.pools.flatMap((pool) =>
      pool.backends.map(({ name, address, state }) => [identity(pool.name, name, formatAddress(address)), state] as const),
    ),
  );
  let [entries, confirmed, moving, movingConfirmed] = [0, 0, 0, 0];
  const backends: BackendFlows[] = [];
  for (const { id, pool, name, address, state } of names.backends) {
    const counted = found.get(id) ?? { entries: 0, confirmed: 0 };
    entries += counted.entries;
    confirmed += counted.confirmed;
    const next = states.get(identity(pool, name, address));
    // Where nothing serves now, nothing is left to move.
    if (state === 'down' || (next !== undefined && next !== 'down')) continue;
    moving += counted.entries;
    movingConfirmed += counted.confirmed;
    backends.push({ pool, backend: name, why: next === undefined ? 'removed' : 'down', ...counted });
  }
  return { entries, confirmed, moving, movingConfirmed, backends };
}

function identity(pool: string, name: string, address: string): string {
  return `${pool} ${name} ${address}`;
}
