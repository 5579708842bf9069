/** What a change does to a pool's table, slot by slot. */
import { type Disruption, disruption } from '../maglev-hash/index.ts';
import { type BuiltTable, buildPoolTable, digestOf, schemeKey } from '../pipeline/pool-table.ts';
import type { PoolSpec } from '../pipeline/spec.ts';

export interface TableChange {
  readonly pool: string;
  /** `rebuilt`: size, seed or scheme differ, so no slot means the same flows and nearly all of them move. */
  readonly change: 'added' | 'removed' | 'none' | 'moved' | 'rebuilt';
  readonly digestBefore: string | null;
  readonly digestAfter: string | null;
  /** Null when the tables can not be compared slot by slot. */
  readonly disruption: Disruption | null;
}

/** Builds both tables, some ten milliseconds each. Throws RangeError when one can not be built. */
export function tableChange(name: string, before: PoolSpec | undefined, after: PoolSpec | undefined): TableChange {
  const old = before === undefined ? null : tableOf(before);
  const now = after === undefined ? null : tableOf(after);
  const digests = { digestBefore: old?.digest ?? null, digestAfter: now?.digest ?? null };
  if (old === null || now === null) {
    return { pool: name, change: old === null ? 'added' : 'removed', ...digests, disruption: null };
  }
  if (old.pool.tableSize !== now.pool.tableSize || schemeKey(old.pool) !== schemeKey(now.pool)) {
    return { pool: name, change: 'rebuilt', ...digests, disruption: null };
  }
  const difference = disruption(old.built.slots, old.built.members, now.built.slots, now.built.members);
  return { pool: name, change: difference.moved === 0 ? 'none' : 'moved', ...digests, disruption: difference };
}

function tableOf(pool: PoolSpec): { pool: PoolSpec; built: BuiltTable; digest: string } {
  const built = buildPoolTable(pool);
  return { pool, built, digest: digestOf(pool, built) };
}
