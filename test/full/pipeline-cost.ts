// The packet path's own cost, and that it allocates nothing. Times are figures, judged by people; allocation is judged here.

import { allocation, run as benchPipeline } from '../../bench/pipeline.ts';
import type { Line, Outcome, Scale } from './line.ts';

/** docs/performance.md, goals: ns per packet. */
const GOALS: Readonly<Record<string, number>> = {
  'IPv4 one flow': 40,
  'IPv4 1,000,000 flows': 100,
  'IPv4 new flows': 120,
};
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
      const goal = GOALS[String(row.case)];
      figures[`${row.case}: ns per packet, median (min–max)`] =
        `${row['ns/packet']} (${row.min}–${row.max})${goal === undefined ? '' : `; goal ${goal}`}`;
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
