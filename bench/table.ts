/**
 * Table building: time, evenness and disruption at 100, 1,000 and 4,000 equal backends and 65,537 slots, beside Katran's C++
 * (commit 19f08fec82fb, g++ -O2, same kind of machine; addresses 10.1.x.y in both).
 *
 *     node --import tsx bench/table.ts [--quick]
 */
import type { Member } from '../src/maglev-hash/index.ts';
import { buildTable, disruption, tableShares } from '../src/maglev-hash/index.ts';

export const name = 'table';

const SIZE = 65537;
const SEED = 0;
const REMOVALS = 20;

/** Katran V1, all weights 1: build ms, max/mean, collateral mean and worst of 20 removals in per cent. */
const KATRAN: Record<number, { ms: number; maxOverMean: number; collateral: number; worst: number }> = {
  100: { ms: 1.86, maxOverMean: 1.001, collateral: 0.587, worst: 0.618 },
  1000: { ms: 1.84, maxOverMean: 1.007, collateral: 0.587, worst: 0.624 },
  4000: { ms: 1.94, maxOverMean: 1.038, collateral: 0.191, worst: 0.214 },
};

function backends(count: number): Member[] {
  return Array.from({ length: count }, (_, i) => ({ identity: Uint8Array.of(10, 1, i >> 8, i & 0xff), weight: 1 }));
}

/** Milliseconds of each build, sorted; the first builds warm the JIT and are not counted. */
function times(members: readonly Member[], builds: number): number[] {
  const measured: number[] = [];
  for (let i = -15; i < builds; i++) {
    const start = performance.now();
    buildTable(members, SIZE, SEED);
    if (i >= 0) measured.push(performance.now() - start);
  }
  return measured.sort((a, b) => a - b);
}

const round = (value: number, digits: number) => Number(value.toFixed(digits));

function row(count: number, quick: boolean): Record<string, string | number> {
  const members = backends(count);
  const measured = times(members, quick ? 21 : 61);
  const table = buildTable(members, SIZE, SEED);
  const shares = tableShares(table, count);
  let own = 0;
  let collateral = 0;
  let worst = 0;
  for (let i = 0; i < REMOVALS; i++) {
    const removed = Math.floor((i * count) / REMOVALS);
    const rest = members.filter((_, index) => index !== removed);
    const change = disruption(table, members, buildTable(rest, SIZE, SEED), rest);
    own += change.own;
    collateral += change.collateral;
    worst = Math.max(worst, change.collateral);
  }
  const percent = (slots: number) => (100 * slots) / SIZE;
  const peer = KATRAN[count];
  return {
    backends: count,
    'build ms': round(measured[measured.length >> 1], 2),
    'min ms': round(measured[0], 2),
    'max ms': round(measured[measured.length - 1], 2),
    'Katran ms': peer.ms,
    'entries min': shares.min,
    'entries max': shares.max,
    'max/mean': round(shares.maxOverMean, 4),
    'Katran max/mean': peer.maxOverMean,
    'removed own %': round(percent(own / REMOVALS), 3),
    'collateral %': round(percent(collateral / REMOVALS), 3),
    'worst %': round(percent(worst), 3),
    'Katran collateral %': peer.collateral,
    'Katran worst %': peer.worst,
  };
}

export async function run(options: { quick: boolean }): Promise<{ name: string; rows: Record<string, string | number>[] }> {
  return { name, rows: [100, 1000, 4000].map((count) => row(count, options.quick)) };
}

if (process.argv[1] !== undefined && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  const { rows } = await run({ quick: process.argv.includes('--quick') });
  console.table(rows);
}
