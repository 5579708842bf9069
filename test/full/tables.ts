// Table building beside Katran's C++: time, evenness, disruption; and two directors with reordered files agree.

import { run as benchTables } from '../../bench/table.ts';
import { buildTable, digestTable, type Member } from '../../src/maglev-hash/index.ts';
import type { Line, Outcome, Scale } from './line.ts';

const SIZE = 65537;
/** A busy minute of a shared machine is not the code's: the best of so many attempts is judged. */
const ATTEMPTS = 5;
/** Katran's slowest build of 65,537 slots, the goal of docs/performance.md. */
const GOAL_MS = 1.9;
/** Integer rounding: the fullest backend of n has at least ceil(65,537 / n) slots, whoever builds the table. */
const fullest = (backends: number) => Math.ceil(SIZE / backends) / (SIZE / backends);
/** Katran's share of slots that move although their owner stayed, in per cent. */
const COLLATERAL: Readonly<Record<number, number>> = { 100: 0.587, 1000: 0.587, 4000: 0.191 };

function sameDigestWhenReordered(backends: number): boolean {
  const members: Member[] = Array.from({ length: backends }, (_, i) => ({
    identity: Uint8Array.of(10, 1, i >> 8, i),
    weight: 1 + (i % 3),
  }));
  const reordered = members.map((_, i) => members[(i * 7919 + 13) % backends]);
  return digestTable(buildTable(members, SIZE, 5), members) === digestTable(buildTable(reordered, SIZE, 5), reordered);
}

type Row = Readonly<Record<string, string | number>>;

/** Rows by number of backends, one for each attempt: attempts end when every median reached the goal. */
async function attempts(scale: Scale): Promise<Map<number, Row[]>> {
  const all = new Map<number, Row[]>();
  for (let left = scale === 'full' ? ATTEMPTS : 1; left > 0; left--) {
    for (const row of (await benchTables({ quick: scale === 'scaled' })).rows) {
      const backends = Number(row.backends);
      all.set(backends, [...(all.get(backends) ?? []), row]);
    }
    if ([...all.values()].every((rows) => best(rows) <= GOAL_MS)) break;
  }
  return all;
}

/** The best of the medians, ms. */
function best(rows: readonly Row[]): number {
  return Math.min(...rows.map((row) => Number(row['build ms'])));
}

async function run(scale: Scale): Promise<Outcome> {
  const figures: Record<string, number | string> = {};
  const wrong: string[] = [];
  for (const [backends, rows] of await attempts(scale)) {
    const row = rows[0];
    const measured = rows.map((one) => `${one['build ms']} (${one['min ms']}–${one['max ms']})`).join(', ');
    figures[`${backends} backends: build ms, median (min–max) of each attempt; Katran`] = `${measured}; ${row['Katran ms']}`;
    figures[`${backends} backends: max/mean; Katran`] = `${row['max/mean']}; ${row['Katran max/mean']}`;
    figures[`${backends} backends: collateral %, mean and worst of 20 removals; Katran`] =
      `${row['collateral %']}, ${row['worst %']}; ${row['Katran collateral %']}, ${row['Katran worst %']}`;
    if (Number(row['max/mean']) > fullest(backends) + 1e-4) wrong.push(`${backends}: max/mean ${row['max/mean']}`);
    if (Number(row['collateral %']) > COLLATERAL[backends]) wrong.push(`${backends}: collateral ${row['collateral %']} %`);
    // A clock on a shared machine judges only the full run.
    if (scale === 'full' && best(rows) > GOAL_MS)
      wrong.push(`${backends}: ${best(rows)} ms in the best of ${rows.length} attempts`);
    const same = sameDigestWhenReordered(backends);
    figures[`${backends} backends: same digest when the file is reordered`] = same ? 'yes' : 'no';
    if (!same) wrong.push(`${backends}: the digest depends on the order`);
  }
  return { passed: wrong.length === 0, figures: { ...figures, complaints: wrong.join(' | ') || 'none' } };
}

export const tables: Line = {
  name: 'tables',
  claim:
    'Tables of 65,537 slots for 100, 1,000 and 4,000 backends are built in at most 1.9 ms, as evenly as integers allow and with no more disruption than Katran; reordered files give the same digest.',
  twin: 'test/full/tables.test.ts',
  run,
};
