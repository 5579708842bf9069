// What the director adds to a packet's way, against the C program of bench/floor/forward.c: same links, same system calls, rounds in turn.

import { ratio } from '../../bench/bulk/ratio.ts';
import { measure } from '../../bench/latency.ts';
import type { Line, Outcome, Scale } from './line.ts';

/** `most`: times the C program's. Scaled down only that it is measured and nothing is lost idle: a second of a busy machine says no more. */
const SIZES = {
  full: { most: { p50: 1.1, p99: 1.3 }, plan: { rounds: 11, seconds: 4, warmUp: 1 } },
  scaled: { most: { p50: 20, p99: 200 }, plan: { rounds: 1, seconds: 0.5, warmUp: 0.3 } },
} as const satisfies Record<Scale, unknown>;

async function run(scale: Scale): Promise<Outcome> {
  const { most, plan } = SIZES[scale];
  const figures: Record<string, number | string> = {};
  let passed = true;
  for (const { load, rate, ours, floor } of await measure(plan)) {
    for (const key of ['p50', 'p99', 'p999'] as const) {
      const nanoseconds = (delays: readonly (typeof ours)[number][]) => delays.map((delay) => delay[key]);
      const { middle, least, most: worst } = ratio(nanoseconds(ours), nanoseconds(floor))!;
      const goal = key === 'p999' ? Number.POSITIVE_INFINITY : most[key];
      if (!(middle <= goal)) passed = false;
      figures[`${load}, ${rate} packets a second: ${key}, times C (median of rounds, least–most)`] =
        `${middle.toFixed(2)} (${least.toFixed(2)}–${worst.toFixed(2)})${middle <= goal ? '' : ` (goal ${goal}: missed)`}; best rounds ${Math.min(...nanoseconds(ours)) / 1000} and ${Math.min(...nanoseconds(floor)) / 1000} µs`;
    }
    const lost = ours.reduce((sum, delay) => sum + delay.lost, 0);
    figures[`${load}: packets lost, ours and C`] = `${lost}, ${floor.reduce((sum, delay) => sum + delay.lost, 0)}`;
    if (ours.some((delay) => delay.packets === 0)) passed = false;
  }
  return { passed, figures };
}

export const latency: Line = {
  name: 'latency',
  claim:
    'A packet takes no longer through the director (tun, raw) than 1.1 times (median) and 1.3 times (99th percentile) what it takes through a C program with the same system calls, idle and at half load, one lab, rounds in turn.',
  twin: 'test/full/latency.test.ts',
  run,
};
