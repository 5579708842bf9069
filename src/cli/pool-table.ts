/** The table of a pool with its digest, built as the snapshot builds it (pipeline/pool-table.ts). */
import { type BuiltTable, buildPoolTable, digestOf } from '../pipeline/pool-table.ts';
import type { PoolSpec } from '../pipeline/spec.ts';

export interface PoolTable extends BuiltTable {
  readonly pool: PoolSpec;
  /** 16 hexadecimal digits. */
  readonly digest: string;
}

export function poolTable(pool: PoolSpec): PoolTable {
  const built = buildPoolTable(pool);
  return { pool, ...built, digest: digestOf(pool, built) };
}
