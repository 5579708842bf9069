// One TCP upload through the director, held against HAProxy, a C program that does the same I/O, and plain forwarding.

import { GOALS, gigabits, goalText, judge, measure, type Plan, processorCost, spread } from '../../bench/bulk.ts';
import type { Line, Outcome, Scale } from './line.ts';

/** Scaled: a second each, to see that every contender moves data and that nothing is lost; too short to compare. */
const PLANS: Readonly<Record<Scale, Plan>> = {
  full: { rounds: 5, seconds: 5, warmUp: 2, streams: [1, 4] },
  scaled: { rounds: 1, seconds: 1, warmUp: 0, streams: [1] },
};

async function run(scale: Scale): Promise<Outcome> {
  const figures: Record<string, number | string> = {};
  const bulk = await measure(PLANS[scale], scale === 'full' ? (line) => console.log(`  ${line}`) : () => {});
  figures['load of the machine before'] = bulk.load.toFixed(2);
  figures['worker of director and floor'] = bulk.worker;
  figures['Gbit/s to the project’s own worker, which verifies every checksum'] = gigabits(bulk.verified);
  figures['that worker'] = bulk.verdict;
  for (const [contender, why] of bulk.absent) figures[`without ${contender}`] = why;
  let reached = true;
  let lost = 0;
  for (const race of bulk.races) {
    const over = `${race.streams} × TCP`;
    for (const [contender, runs] of race.runs) {
      const sum = (of: (one: (typeof runs)[number]) => number) => runs.reduce((total, one) => total + of(one), 0);
      // What the director lost; full queues elsewhere are told, and are the machine's.
      lost += sum((one) => one.refused + one.drops.tun);
      figures[`${over}, ${contender}: Gbit/s, median (least–most)`] = spread(runs.map(gigabits).map(Number), 2);
      const cost = processorCost(runs);
      if (cost.length > 0) figures[`${over}, ${contender}: CPU-seconds per GB`] = spread(cost, 2);
      figures[`${over}, ${contender}: retransmitted segments; drops of its own, of TUN, links, socket`] =
        `${sum((one) => one.retransmits)}; ${sum((one) => one.refused)}, ${sum((one) => one.drops.tun)}, ${sum((one) => one.drops.links)}, ${sum((one) => one.drops.socket)}`;
    }
    for (const goal of GOALS) {
      const ratio = judge(goal, race);
      if (ratio === null) continue;
      figures[`${over}: ${goal.of} / ${goal.over}, median of rounds (least–most)`] = goalText(goal, ratio);
      // The promise is one upload: several at once also measure how well the kernel spreads them.
      if (!goal.moonshot && race.streams === 1 && ratio.middle < goal.least) reached = false;
    }
  }
  figures['packets lost by a contender or in front of it'] = lost;
  if (scale === 'full') return { passed: reached && lost === 0, figures };
  const slowest = Math.min(...bulk.races.flatMap((race) => [...race.runs.values()].flat()).map((one) => one.bytes));
  figures['bytes of the slowest'] = slowest;
  return { passed: slowest > 10_000_000 && lost === 0, figures };
}

export const bulk: Line = {
  name: 'bulk',
  claim:
    'One TCP upload through the director, counted at the receiver’s application, is at least 1.3 × as fast as through HAProxy and 0.95 × as fast as through a C program that makes the same system calls and copies; the ratio to plain forwarding and CPU-seconds per GB are told.',
  twin: 'test/full/bulk.test.ts',
  run,
};
