/** The Maglev table of a pool, built as the snapshot builds it: of the backends that take new flows. */
import { buildTable, digestTable, type Member } from '../maglev-hash/index.ts';
import type { BackendSpec, PoolSpec } from '../pipeline/spec.ts';

export interface PoolTable {
  readonly pool: PoolSpec;
  /** Those that are active and have a weight; the table's slots are indices into this list. */
  readonly backends: readonly BackendSpec[];
  readonly members: readonly Member[];
  readonly slots: Uint16Array;
  /** 16 hexadecimal digits. */
  readonly digest: string;
}

export function poolTable(pool: PoolSpec): PoolTable {
  const backends = pool.backends.filter((backend) => backend.state === 'active' && backend.weight > 0);
  const members = backends.map(({ address, weight }) => ({ identity: address, weight }));
  const slots = buildTable(members, pool.tableSize, pool.seed);
  return { pool, backends, members, slots, digest: digestTable(slots, members) };
}
