// The packet path's own cost, and that it allocates nothing. Times are figures, judged by people; allocation is judged here.

import { allocation, run as benchPipeline } from '../../bench/pipeline.ts';
import type { Line, Outcome, Scale } from './line.ts';

/** docs/performance.md, goals: ns per packet, or so many times another case. */
interface Goal {
  readonly most: number;
  /** The case that `most` multiplies; absent: `most` is ns. */
  readonly of?: string;
}

const FLOWS = ['one flow', '1,000 flows', '1,000,000 flows', 'new flows'];
const GOALS: ReadonlyMap<string, Goal> = new Map([
  ['IPv4 one flow', { most: 40 }],
  ['IPv4 1,000,000 flows', { most: 100 }],
  ['IPv4 new flows', { most: 120 }],
  ...FLOWS.map((flows): [string, Goal] => [`IPv6 ${flows}`, { most: 1.3, of: `IPv4 ${flows}` }]),
  ...['IPv4', 'IPv6'].flatMap((family) =>
    FLOWS.map((flows): [string, Goal] => [`${family} ${flows}, checksum full`, { most: 1.3, of: `${family} ${flows}` }]),
  ),
]);

type Row = Readonly<Record<string, string | number>>;

/** The goal of a case and how far it is, judged by best rounds: what others do on the machine only adds. */
function judged(row: Row, rows: readonly Row[]): string {
  const goal = GOALS.get(String(row.case));
  if (goal === undefined) return '';
  const other = rows.find((one) => one.case === goal.of);
  const limit = goal.most * (goal.of === undefined ? 1 : Number(other?.min));
  const words = goal.of === undefined ? `${goal.most} ns` : `${goal.most} × ${goal.of}`;
  const excess = Number(row.min) / limit - 1;
  return `; goal ${words}: ${excess <= 0 ? 'reached' : `missed by ${Math.ceil(excess * 100)} %`}`;
}

const PACKETS: Readonly<Record<Scale, number>> = { full: 10_000_000, scaled: 1_000_000 };

async function run(scale: Scale): Promise<Outcome> {
  const figures: Record<string, number | string> = {};
  const { gcEvents, heapGrowth, packets } = await allocation(PACKETS[scale]);
  figures['packets after warm-up'] = packets;
  figures['GC events'] = gcEvents;
  figures['heap growth, bytes'] = heapGrowth;
  if (scale === 'full') {
    const { rows } = await benchPipeline({ quick: false });
    for (const row of rows) {
      if (row['ns/packet'] === undefined) continue;
      figures[`${row.case}: ns per packet, best round (median–worst)`] =
        `${row.min} (${row['ns/packet']}–${row.max})${judged(row, rows)}`;
    }
  }
  // One kilobyte per million packets would be noise of the runtime; an object per packet would be tens of megabytes.
  return { passed: gcEvents === 0 && heapGrowth < packets / 10, figures };
}

export const pipelineCost: Line = {
  name: 'pipeline-cost',
  claim:
    'Ten million packets through the packet path after warm-up cause no garbage collection; ns per packet for one hot flow, 1,000, 1,000,000 and all-new flows, IPv4 and IPv6, checksum none and full.',
  twin: 'test/full/pipeline-cost.test.ts',
  run,
};
