// How long packets take through the director against a C program that makes the same system calls: from the client's system call to the worker's.

import { median } from '../../bench/bulk/ratio.ts';
import { delays, type LatencyPlan, measure, type Percentile } from '../../bench/latency.ts';
import type { Line, Outcome, Scale } from './line.ts';

/** `most`: times the floor's. Scaled, with a hundred packets and code that is not compiled yet, only what stands still fails. */
const SIZES: Readonly<Record<Scale, LatencyPlan & { readonly most: Readonly<Record<Percentile, number>> }>> = {
  full: {
    rounds: 21,
    seconds: 2,
    lead: 0.3,
    warmUp: 3,
    loading: 2,
    most: { p50: 1.1, p99: 1.3, p999: Number.POSITIVE_INFINITY },
  },
  scaled: {
    rounds: 1,
    seconds: 0.2,
    lead: 0.1,
    warmUp: 0.2,
    loading: 0.1,
    most: { p50: 1000, p99: 10_000, p999: Number.POSITIVE_INFINITY },
  },
};

const NAMES: Readonly<Record<Percentile, string>> = { p50: 'p50', p99: 'p99', p999: 'p99.9' };

async function run(scale: Scale): Promise<Outcome> {
  const { most, ...plan } = SIZES[scale];
  const figures: Record<string, number | string> = {};
  let passed = true;
  for (const delayed of await measure(plan)) {
    const { load, rate, ours, floor } = delayed;
    const what = `${load === 'half' ? 'half of what goes through' : load}, ${rate} a second`;
    for (const of of ['p50', 'p99', 'p999'] as const) {
      const { middle, least, most: highest } = delays(delayed, of);
      const missed = !(middle <= most[of]);
      if (missed) passed = false;
      const time = (times: typeof ours) => (median(times.map((one) => one[of])) / 1000).toFixed(1);
      const goal = Number.isFinite(most[of]) ? `; at most ${most[of]}${missed ? ': missed' : ''}` : '';
      figures[`${what}: ${NAMES[of]}, times the floor’s, median of ${plan.rounds} rounds (least–most)`] =
        `${middle.toFixed(2)} (${least.toFixed(2)}–${highest.toFixed(2)})${goal}; ours ${time(ours)} µs, floor ${time(floor)} µs`;
    }
    const count = (times: typeof ours, of: 'packets' | 'lost') => times.reduce((sum, one) => sum + one[of], 0);
    figures[`${what}: packets (lost)`] =
      `ours ${count(ours, 'packets')} (${count(ours, 'lost')}), floor ${count(floor, 'packets')} (${count(floor, 'lost')})`;
    if (count(ours, 'packets') === 0 || count(floor, 'packets') === 0) passed = false;
  }
  return { passed, figures };
}

export const latencyLine: Line = {
  name: 'latency',
  claim:
    'What a packet needs from the client’s system call to the worker’s through the director (tun in, raw out), idle and at half of what goes through, is at most 1.1 times (p50) and 1.3 times (p99) what it needs through a C program that makes the same system calls, in one run, in turn.',
  twin: 'test/full/latency.test.ts',
  run,
};
