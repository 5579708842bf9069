// Small packets past the kernel's stack, by `packet` and by `xdp`, against C programs with the same rings, sockets and system calls: packets a second, more offered than go through.

import { type LinkPlan, linkFigures, linkRatios, measureLink, words } from '../../bench/forward/link.ts';
import type { Line, Outcome, Scale } from './line.ts';

const GOAL = 0.95;

/** `least`: of the floor's packets a second. Scaled it is a bound for a busy machine and code that the compiler has not finished with. */
const SIZES: Readonly<Record<Scale, LinkPlan & { readonly least: number }>> = {
  full: {
    drivers: ['packet', 'xdp'],
    sizes: [64, 1500],
    rounds: 15,
    seconds: 0.5,
    lead: 0.1,
    warmUp: 6,
    drains: 9,
    least: GOAL,
  },
  scaled: { drivers: ['xdp'], sizes: [64], rounds: 1, seconds: 0.15, lead: 0.05, warmUp: 0.2, drains: 1, least: 0.1 },
};

async function run(scale: Scale): Promise<Outcome> {
  const { least, ...plan } = SIZES[scale];
  const figures: Record<string, number | string> = {};
  let passed = true;
  for (const forwarded of await measureLink(plan)) {
    const { driver, size } = forwarded;
    const { offered, drained } = linkRatios(forwarded);
    const [ours, floor] = [linkFigures(forwarded.ours), linkFigures(forwarded.floor)];
    const missed = !(offered.middle >= least);
    if (missed) passed = false;
    const what = `${driver}, ${size} bytes`;
    figures[`${what}: packets/s, times the floor’s, median of ${plan.rounds} rounds (least–most)`] =
      `${words(offered)}; at least ${least}${missed ? ': missed' : ''}`;
    figures[`${what}: packets/s, median (of those offered)`] =
      `ours ${ours.rate} (${ours.offered}), floor ${floor.rate} (${floor.offered})`;
    figures[`${what}: processor time, µs a packet (share of the processor that the forwarding thread used)`] =
      `ours ${ours.processor} (${ours.busy}), floor ${floor.processor} (${floor.busy})`;
    figures[`${what}: packets/s from full queues, nobody sending, times the floor’s`] =
      `${words(drained)}; ours ${ours.drained}, floor ${floor.drained}`;
  }
  return { passed, figures };
}

export const forwardLink: Line = {
  name: 'forward-link',
  claim:
    'On one veth pair, with packet in and out and with xdp in and out, one thread of the director forwards at least 0.95 times as many packets a second as a C program with the same rings, sockets and system calls that writes constant headers (bench/floor/forward-packet.c, forward-xdp.c), at 64 and 1,500 bytes, in one run, in turn.',
  twin: 'test/full/forward-link.test.ts',
  run,
};
