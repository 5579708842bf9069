// The whole way of small packets against a C program that makes the same system calls and only prepends constant bytes (bench/floor/forward.c).

import { median, ratio } from '../../bench/bulk/ratio.ts';
import { measure } from '../../bench/forward.ts';
import type { Line, Outcome, Scale } from './line.ts';

/** `least`: of the C program's packets a second. Scaled down it is a bound for a busy machine, and one round of half a second. */
const SIZES = {
  full: { least: 0.95, plan: { rounds: 9, threads: [1], sizes: [64, 1500], seconds: 2, warmUp: 0.5 } },
  scaled: { least: 0.3, plan: { rounds: 1, threads: [1], sizes: [64], seconds: 0.5, warmUp: 0.5 } },
} as const satisfies Record<Scale, unknown>;

async function run(scale: Scale): Promise<Outcome> {
  const { least, plan } = SIZES[scale];
  const figures: Record<string, number | string> = {};
  let passed = true;
  for (const { size, threads, ours, floor } of await measure(plan)) {
    const rates = (loads: readonly { readonly rate: number }[]) => loads.map((load) => load.rate);
    const compared = ratio(rates(ours), rates(floor))!;
    if (!(compared.middle >= least)) passed = false;
    const spent = (loads: readonly { readonly processor: number }[]) =>
      (median(loads.map((load) => load.processor)) * 1e6).toFixed(1);
    figures[`tun and raw, ${size} bytes, ${threads} thread: packets/s, times C (median of rounds, least–most)`] =
      `${compared.middle.toFixed(2)} (${compared.least.toFixed(2)}–${compared.most.toFixed(2)})${compared.middle >= least ? '' : ` (goal ${least}: missed)`}; ours ${Math.round(median(rates(ours)))}, ${spent(ours)} µs of processor time each; C ${Math.round(median(rates(floor)))}, ${spent(floor)} µs`;
  }
  return { passed, figures };
}

export const forward: Line = {
  name: 'forward',
  claim:
    'Ingress tun and egress raw move at least 0.95 times as many packets a second as a C program that makes the same system calls and prepends constant bytes, one lab, rounds in turn.',
  twin: 'test/full/forward.test.ts',
  run,
};
