// Packets of every size and every lie about it, through the whole packet path: virtio-net headers, lengths, offsets, extension-header
// chains, options, path MTUs. The seed is the same in every run; a round that fails is told by its number, and
//
//     GUE_DIRECTOR_ROUND=NUMBER npm run test:full -- fuzz-sizes
//
// runs that one again.

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Line, Outcome, Scale } from './line.ts';
import { KNOWN } from './sizes/known.ts';
import { newReport, type Report, ROUND, Rounds } from './sizes/round.ts';

export const SEED = 20261123;
const CASES: Readonly<Record<Scale, number>> = { full: 10_000_000, scaled: 40_000 };
const THREAD = new URL('./sizes/thread.ts', import.meta.url);

/** What a thread is told: rounds first, first + step … up to and without `end`. */
export interface Share {
  readonly seed: number;
  readonly first: number;
  readonly step: number;
  readonly end: number;
}

/** Runs a share; ends early when much is wrong. */
export function runShare({ seed, first, step, end }: Share): Report {
  const report = newReport();
  const rounds = new Rounds();
  for (let round = first; round < end && report.wrong.length < 4; round += step) rounds.run(seed, round, report);
  return report;
}

/** tsx registers itself in the main thread only. */
function inThread(share: Share): Promise<Report> {
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const script = `import(${tsx}).then(({ register }) => { register(); return import(${JSON.stringify(THREAD.href)}); })`;
  return new Promise((done, failed) => {
    const worker = new Worker(script, { eval: true, workerData: share });
    worker.once('message', done);
    worker.once('error', failed);
    worker.once('exit', (code) => failed(new Error(`a thread ended with code ${code} before its report`)));
  });
}

function add(all: Report, one: Report): void {
  all.cases += one.cases;
  all.watched += one.watched;
  all.outputs += one.outputs;
  all.trains += one.trains;
  all.fragmented += one.fragmented;
  all.answers += one.answers;
  for (const [word, count] of one.counts) all.counts.set(word, (all.counts.get(word) ?? 0) + count);
  all.wrong.push(...one.wrong);
}

/** What must have happened for the numbers to mean something: every way out, and every reason that a packet can have here. */
const MUST_HAPPEN = [
  'forward',
  'reply',
  'pass',
  ...['not-a-service', 'not-ip', 'truncated', 'malformed-ip', 'ip-checksum', 'malformed-transport', 'ipv6-extension', 'fragment'],
  ...['ttl-expired', 'icmp-not-steered', 'bad-virtio-header', 'super-packet', 'super-packet-checksum', 'too-big', 'too-big-rate'],
  'wrong-host',
].map((word) => (['forward', 'reply', 'pass'].includes(word) ? word : `dropped: ${word}`));

async function run(scale: Scale): Promise<Outcome> {
  const only = process.env.GUE_DIRECTOR_ROUND;
  const before = process.cpuUsage();
  const all = newReport();
  const rounds = new Rounds();
  for (const known of KNOWN) rounds.runKnown(known, all);
  if (only !== undefined) add(all, runShare({ seed: SEED, first: Number(only), step: 1, end: Number(only) + 1 }));
  else {
    // A round has ROUND cases, some fewer.
    const end = Math.ceil((CASES[scale] / ROUND) * 1.07);
    const step = Math.max(2, availableParallelism());
    const shares = Array.from({ length: step }, (_, first) => ({ seed: SEED, first, step, end }));
    for (const report of await Promise.all(shares.map(inThread))) add(all, report);
    if (all.cases < CASES[scale] && all.wrong.length === 0) all.wrong.push(`only ${all.cases} cases`);
    for (const word of MUST_HAPPEN) if (!all.counts.has(word)) all.wrong.push(`never happened: ${word}`);
    const forwarded = all.counts.get('forward') ?? 0;
    if (forwarded < all.cases / 5) all.wrong.push(`only ${forwarded} of ${all.cases} packets were forwarded`);
    if (all.fragmented === 0 || all.answers === 0) all.wrong.push('no tunnel packet in fragments, or no answer beside a packet');
    if (all.trains < all.cases / 50) all.wrong.push(`only ${all.trains} trains`);
  }
  const { user, system } = process.cpuUsage(before);
  return {
    passed: all.wrong.length === 0,
    figures: {
      seed: SEED,
      cases: all.cases,
      'of them once wrong, kept by name': KNOWN.length,
      'of them watched read by read': all.watched,
      'packets that left, all decoded and compared with the slow twins': all.outputs,
      'trains of two and more': all.trains,
      'packets whose tunnel packets left in fragments': all.fragmented,
      'answers to packets that were forwarded': all.answers,
      ...Object.fromEntries([...all.counts].sort((a, b) => b[1] - a[1])),
      'CPU seconds, all threads': Math.round((user + system) / 1e6),
      complaints: all.wrong.slice(0, 8).join(' | ') || 'none',
    },
  };
}

export const fuzzSizes: Line = {
  name: 'fuzz-sizes',
  claim:
    'Ten million packets with lying virtio-net headers, lengths, offsets and extension-header chains, through tunnels of small and large path MTUs: no exception, no read outside the frame, every packet that leaves decodes, fits its path and is what the slow twins make of it, every other one has its reason.',
  twin: 'test/full/fuzz-sizes.test.ts',
  run,
};
