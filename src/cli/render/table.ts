/** The text of `table` and `table --compare`. */
import type { PoolComparison, TableReport } from '../table-report.ts';
import { columns, percent } from './columns.ts';
import type { Paint } from './paint.ts';

export function tableText(reports: readonly TableReport[], paint: Paint): string {
  return reports.map((report) => onePool(report, paint)).join('\n');
}

function onePool(report: TableReport, paint: Paint): string {
  const evenness = report.evenness === null ? 'no backend serves' : `largest share ÷ wanted ${report.evenness.toFixed(4)}`;
  const how = report.seed === null ? `scheme ${report.scheme}` : `seed ${report.seed}`;
  const heading = `${paint.bold(report.pool)}: ${report.tableSize} slots, ${how}, digest ${report.digest}, ${evenness}`;
  const rows = [['backend', 'address', 'state', 'weight', 'slots', 'share', 'wanted']];
  for (const backend of report.backends) {
    const { name, address, state, weight, slots, share, wanted } = backend;
    rows.push([name, address, state, String(weight), String(slots), percent(share), percent(wanted)]);
  }
  const lines = columns(rows, ['left', 'left', 'left', 'right', 'right', 'right', 'right']);
  lines[0] = paint.dim(lines[0]);
  return `${[heading, ...lines.map((line) => `  ${line}`)].join('\n')}\n`;
}

export function comparisonText({ pools }: { readonly pools: readonly PoolComparison[] }, paint: Paint): string {
  return pools.map((pool) => `${paint.bold(pool.pool)}: ${sentence(pool)}\n`).join('');
}

function sentence(pool: PoolComparison): string {
  if (pool.change === 'added') return `is new, digest ${pool.digestAfter}`;
  if (pool.change === 'removed') return 'is gone';
  if (pool.change === 'rebuilt') return `size, seed or scheme differ: nearly every flow without an entry in the flow table moves`;
  const moved = pool.disruption;
  if (moved === null || moved.moved === 0) return `nothing moves, digest ${pool.digestAfter}`;
  const parts = [
    `${percent(moved.moved / moved.slots)} of the slots move`,
    `${percent(moved.own / moved.slots)} of backends that leave`,
    `${percent(moved.gained / moved.slots)} to new ones`,
    `${percent(moved.collateral / moved.slots)} between backends that stay`,
  ];
  return `${parts[0]} (${parts.slice(1).join(', ')}), digest ${pool.digestBefore} → ${pool.digestAfter}`;
}
