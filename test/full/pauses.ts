// Pauses at half load: of the garbage collector in a forwarding thread, and of its batches, against those of the same path in C (bench/floor/pipeline.c) that works beside it
// at the same time. Each has a processor for itself, and they change places from round to round, so that interrupts and neighbours of the machine hit both alike. The thread
// never returns to its event loop, so a PerformanceObserver in it is told of all collections at its end: each with when it was and how long.

import { COMPILER_HINT } from '../../bench/floor/build.ts';
import type { Served } from '../../bench/floor/pipeline.ts';
import { MemoryFloor } from '../../bench/memory-floor.ts';
import { MemoryThreads } from '../../bench/memory-threads.ts';
import { allowedProcessors } from '../../src/raw-socket/processors.ts';
import type { Line, Outcome, Scale } from './line.ts';

interface Size {
  readonly rounds: number;
  /** Of a round. */
  readonly seconds: number;
  readonly warmUp: number;
  /** Milliseconds of the longest collection. */
  readonly longest: number;
  /** Whether pauses of batches are judged: on a machine that runs a test suite they say nothing. */
  readonly judged: boolean;
}

/** Ten minutes; the twin is as long as two rounds take that show anything, and looks for what is wrong by an order of magnitude. */
const SIZES: Readonly<Record<Scale, Size>> = {
  full: { rounds: 60, seconds: 10, warmUp: 5, longest: 1, judged: true },
  scaled: { rounds: 2, seconds: 0.5, warmUp: 0.5, longest: 10, judged: false },
};
const FLOWS = 100_000;
const ENTRIES = 2 ** 20;
/** A millisecond of work, one of sleep. */
const LOAD = 0.5;

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);

/**
 * As many, but for chance: two counts of what comes by itself with the same rate differ by less than twice the root of their sum nineteen times of twenty.
 */
const noMore = (ours: number, theirs: number) => ours - theirs <= 2 * Math.sqrt(ours + theirs);

async function run(scale: Scale): Promise<Outcome> {
  const { rounds, seconds, warmUp, longest, judged } = SIZES[scale];
  const scene = new MemoryFloor();
  const floor = await scene.start(ENTRIES, FLOWS);
  const threads = await MemoryThreads.start({
    threads: 1,
    snapshot: scene.snapshot,
    frames: [scene.frames],
    flowEntries: ENTRIES,
    flows: FLOWS,
    load: LOAD,
  });
  try {
    await sleep(warmUp * 1000);
    const processors = allowedProcessors().slice(0, 2);
    const [ours, theirs]: [Served[], Served[]] = [[], []];
    const since = Date.now();
    for (let round = 0; round < rounds; round++) {
      if (processors.length === 2) threads.pin(0, processors[round & 1]);
      threads.forgetTimes();
      const before = threads.forwarded;
      const beside = floor?.serve(seconds * 1000, LOAD, processors.length === 2 ? processors[~round & 1] : null);
      await sleep(seconds * 1000);
      const times = threads.times();
      ours.push({ packets: threads.forwarded - before, pauses: times.pauses, longest: times.longest / 1000 });
      if (beside !== undefined) theirs.push(await beside);
    }
    const until = Date.now();
    const took = (until - since) / 1000;
    const [{ pauses, cpuSeconds }] = await threads.stop();
    // What V8 did before is compiling, and its garbage; behind it the thread comes to its event loop, and V8 to what it had put off.
    const collections = pauses.filter(({ at }) => at >= since && at < until);
    const longestCollection = Math.max(0, ...collections.map(({ duration }) => duration));
    const pausesOf = (side: readonly Served[]) => sum(side.map((round) => round.pauses));
    const packetsOf = (side: readonly Served[]) => sum(side.map(({ packets }) => packets));
    const told = (side: readonly Served[]) =>
      `${pausesOf(side)}; longest ${Math.max(...side.map((round) => round.longest)).toFixed(1)} ms`;
    const fewer = theirs.length > 0 && noMore(pausesOf(ours), pausesOf(theirs));
    return {
      passed: longestCollection <= longest && packetsOf(ours) > 0 && (!judged || fewer),
      figures: {
        seconds: Math.round(took),
        'packets forwarded': packetsOf(ours),
        'at work, share of the time': (cpuSeconds / (took + warmUp)).toFixed(2),
        'collections in the thread': collections.length,
        'longest collection, ms': `${longestCollection.toFixed(3)} (at most ${longest})`,
        'batches over 1 ms, of the thread': told(ours),
        'the same of the C program': theirs.length === 0 ? COMPILER_HINT : `${told(theirs)} (${packetsOf(theirs)} packets)`,
        'no more than the C program, but for chance (2 √ of both)': fewer ? 'yes' : 'no',
        'collections before, while V8 compiled': pauses.filter(({ at }) => at < since).length,
      },
    };
  } finally {
    floor?.stop();
    await threads.stop();
  }
}

export const pauses: Line = {
  name: 'pauses',
  claim:
    'In ten minutes at half load no pause of the garbage collector in a forwarding thread is longer than 1 ms, and no more of its batches take over 1 ms than of the same path in C beside it.',
  twin: 'test/full/pauses.test.ts',
  run,
};
