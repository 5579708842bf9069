// Small packets through the director (TUN in, raw socket out) against a C program that makes the same system calls: packets a second, more offered than go through.

import { median } from '../../bench/bulk/ratio.ts';
import { type ForwardPlan, measure, rates } from '../../bench/forward.ts';
import type { Line, Outcome, Scale } from './line.ts';

const GOAL = 0.95;

/** `least`: of the floor's packets a second. Scaled it is a bound for a busy machine and code that the compiler has not finished with. */
const SIZES: Readonly<Record<Scale, ForwardPlan & { readonly least: number }>> = {
  full: { rounds: 15, threads: [1, 2], sizes: [64, 512, 1500], seconds: 0.5, lead: 0.1, warmUp: 3, least: GOAL },
  scaled: { rounds: 1, threads: [1], sizes: [64], seconds: 0.2, lead: 0.05, warmUp: 0.3, least: 0.1 },
};

async function run(scale: Scale): Promise<Outcome> {
  const { least, ...plan } = SIZES[scale];
  const figures: Record<string, number | string> = {};
  let passed = true;
  for (const forwarded of await measure(plan)) {
    const { threads, size, ours, floor } = forwarded;
    const what = `${threads} ${threads === 1 ? 'thread' : 'threads'}, ${size} bytes`;
    const { middle, least: lowest, most } = rates(forwarded);
    // A promise is one thread: two of them leave a machine of two processors none for the traffic. Told all the same.
    const missed = threads === 1 && !(middle >= least);
    if (missed) passed = false;
    const rate = (loads: typeof ours) => Math.round(median(loads.map((one) => one.rate)));
    const cost = (loads: typeof ours) => (median(loads.map((one) => one.processor)) * 1e6).toFixed(2);
    figures[`${what}: packets/s, times the floor’s, median of ${plan.rounds} rounds (least–most)`] =
      `${middle.toFixed(3)} (${lowest.toFixed(2)}–${most.toFixed(2)})${threads === 1 ? `; at least ${least}` : ''}${missed ? ': missed' : ''}`;
    figures[`${what}: packets/s, median`] = `ours ${rate(ours)}, floor ${rate(floor)}`;
    figures[`${what}: processor time, µs a packet, median`] = `ours ${cost(ours)}, floor ${cost(floor)}`;
  }
  return { passed, figures };
}

export const forwardLine: Line = {
  name: 'forward',
  claim:
    'Through namespaces, with ingress tun and egress raw, one thread of the director forwards at least 0.95 times as many packets a second as a C program that makes the same system calls and writes constant headers (bench/floor/forward.c), at 64, 512 and 1,500 bytes, in one run, in turn.',
  twin: 'test/full/forward.test.ts',
  run,
};
