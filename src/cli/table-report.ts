/** What `table` shows, as plain data: the JSON output, and what the text is made of. */
import { formatAddress } from '../base/address.ts';
import { type TableChange, tableChange } from '../control/table-change.ts';
import { EMPTY_SLOT } from '../maglev-hash/index.ts';
import { slotCounts } from '../pipeline/pool-table.ts';
import type { PoolSpec } from '../pipeline/spec.ts';
import { type PoolTable, poolTable } from './pool-table.ts';

export interface BackendShare {
  readonly name: string;
  readonly address: string;
  readonly state: string;
  readonly weight: number;
  readonly slots: number;
  /** Of the table, 0–1. */
  readonly share: number;
  /** What its weight asks for, 0–1; 0 when it takes no new flow. */
  readonly wanted: number;
}

export interface TableReport {
  readonly pool: string;
  /** Name of its scheme. */
  readonly scheme: string;
  readonly tableSize: number;
  /** Of scheme maglev; null for a peer's. */
  readonly seed: number | null;
  readonly digest: string;
  /** The largest of slots ÷ wanted slots over the backends that serve: 1 is perfect; null when none serves. */
  readonly evenness: number | null;
  readonly backends: readonly BackendShare[];
  /** Slot → backend name, null when empty; only when asked for. */
  readonly slots?: readonly (string | null)[];
  /** Scheme glb, with `slots`: row → the backend where a worker passes on what is not its own. */
  readonly seconds?: readonly (string | null)[];
}

export function tableReport(pool: PoolSpec, withSlots: boolean): TableReport {
  const built = poolTable(pool);
  const counts = slotCounts(built);
  // What has slots but takes no new flow is still asked for by its weight: the slots are its.
  const total = built.backends.reduce((sum, backend) => sum + backend.weight, 0);
  const places = new Map(built.backends.map((backend, i) => [backend.name, i]));
  const backends = pool.backends.map((backend): BackendShare => {
    const place = places.get(backend.name);
    const slots = place === undefined ? 0 : counts[place];
    return {
      name: backend.name,
      address: formatAddress(backend.address),
      state: backend.state,
      weight: backend.weight,
      slots,
      share: slots / pool.tableSize,
      wanted: place === undefined ? 0 : backend.weight / total,
    };
  });
  const ratios = backends.filter((backend) => backend.wanted > 0).map((backend) => backend.share / backend.wanted);
  const evenness = ratios.length === 0 ? null : ratios.reduce((most, ratio) => Math.max(most, ratio));
  const { tableSize } = pool;
  const scheme = pool.scheme?.name ?? 'maglev';
  const seed = scheme === 'maglev' ? pool.seed : null;
  const report = { pool: pool.name, scheme, tableSize, seed, digest: built.digest, evenness, backends };
  if (!withSlots) return report;
  const slots = owners(built, built.slots);
  return built.seconds === null ? { ...report, slots } : { ...report, slots, seconds: owners(built, built.seconds) };
}

function owners(built: PoolTable, slots: Uint16Array): (string | null)[] {
  return Array.from(slots, (owner) => (owner === EMPTY_SLOT ? null : built.backends[owner].name));
}

/** One line for each slot: number, backend, address; `-` for an empty one. With scheme glb the second backend follows. */
export function slotLines(pool: PoolSpec): string {
  const built = poolTable(pool);
  const names = built.backends.map((backend) => `${backend.name} ${formatAddress(backend.address)}`);
  const lines: string[] = [];
  for (let slot = 0; slot < built.slots.length; slot++) {
    const second = built.seconds === null ? '' : ` ${names[built.seconds[slot]] ?? '-'}`;
    lines.push(`${pool.name} ${slot} ${names[built.slots[slot]] ?? '-'}${second}\n`);
  }
  return lines.join('');
}

export type PoolComparison = TableChange;

export function comparisonReport(before: readonly PoolSpec[], after: readonly PoolSpec[]): { pools: PoolComparison[] } {
  const names = [...new Set([...before, ...after].map((pool) => pool.name))];
  const find = (pools: readonly PoolSpec[], name: string) => pools.find((pool) => pool.name === name);
  return { pools: names.map((name) => tableChange(name, find(before, name), find(after, name))) };
}
