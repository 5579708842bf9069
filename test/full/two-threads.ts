// Two forwarding threads against one: the daemon's loop, packet path, flow regions and counters; packets come from memory and go to memory, so that nothing is
// shared but what the director itself shares. What the machine gives two of anything, two processes of the same path in C say (bench/floor/pipeline.c): in the same
// rounds, in turn.

import { availableParallelism } from 'node:os';
import { COMPILER_HINT } from '../../bench/floor/build.ts';
import type { PipelineFloor } from '../../bench/floor/pipeline.ts';
import { MemoryFloor } from '../../bench/memory-floor.ts';
import { MemoryThreads } from '../../bench/memory-threads.ts';
import type { Line, Outcome, Scale } from './line.ts';

interface Size {
  readonly rounds: number;
  readonly milliseconds: number;
  /** Packets of each thread before anything is measured: until then V8 compiles. */
  readonly warmUp: number;
  /** Two threads at least so many times one. */
  readonly ratio: number;
  /** By the clock, or by the CPU time that threads get: the suite's machine has other things to do. */
  readonly by: 'clock' | 'processor';
  /** Whether the C programs run too: the twin of `pauses` does that in the suite. */
  readonly floor: boolean;
}

const SIZES: Readonly<Record<Scale, Size>> = {
  full: { rounds: 15, milliseconds: 2000, warmUp: 20_000_000, ratio: 1.8, by: 'clock', floor: true },
  // Only whether they stand in each other's way: neighbours of a shared machine take caches too.
  scaled: { rounds: 3, milliseconds: 100, warmUp: 1_500_000, ratio: 1, by: 'processor', floor: false },
};
const FLOWS = 100_000;
/** Of all threads together, a power of two: each of two has half of it. */
const ENTRIES = 2 ** 20;

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];
const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);

interface Rate {
  /** Packets a second. */
  readonly clock: number;
  /** Packets a second if every thread had a processor for itself all the time. */
  readonly processor: number;
}

/** Of threads that sleep before and after. */
async function rate(threads: MemoryThreads, milliseconds: number): Promise<Rate> {
  const cpu = threads.cpuSeconds;
  threads.resume();
  const [packets, from] = [threads.forwarded, performance.now()];
  await sleep(milliseconds);
  const clock = ((threads.forwarded - packets) * 1000) / (performance.now() - from);
  await threads.pause();
  const each = (threads.cpuSeconds - cpu) / threads.threads.length;
  return { clock, processor: (threads.forwarded - packets) / each };
}

/** Packets a second of the C programs, at once. */
async function rateInC(programs: readonly PipelineFloor[], milliseconds: number): Promise<number> {
  const served = await Promise.all(programs.map((program) => program.serve(milliseconds, 1, null)));
  return (sum(served.map(({ packets }) => packets)) * 1000) / milliseconds;
}

async function run(scale: Scale): Promise<Outcome> {
  const size = SIZES[scale];
  const scene = new MemoryFloor();
  const { snapshot, frames } = scene;
  const start = (count: number) =>
    MemoryThreads.start({
      threads: count,
      snapshot,
      frames: Array.from({ length: count }, () => frames),
      flowEntries: ENTRIES,
      flows: FLOWS,
    });
  const sets: MemoryThreads[] = [];
  const programs: PipelineFloor[] = [];
  try {
    for (const count of [1, 2]) {
      const set = await start(count);
      sets.push(set);
      while (set.forwarded < count * size.warmUp) await sleep(20);
      await set.pause();
    }
    const [one, two] = sets;
    for (const entries of size.floor ? [ENTRIES, ENTRIES / 2, ENTRIES / 2] : []) {
      const program = await scene.start(entries, FLOWS);
      if (program !== null) programs.push(program);
    }
    const rounds = { one: [] as Rate[], two: [] as Rate[], oneInC: [] as number[], twoInC: [] as number[] };
    for (let round = 0; round < size.rounds; round++) {
      rounds.one.push(await rate(one, size.milliseconds));
      rounds.two.push(await rate(two, size.milliseconds));
      if (programs.length === 0) continue;
      rounds.oneInC.push(await rateInC(programs.slice(0, 1), size.milliseconds));
      rounds.twoInC.push(await rateInC(programs.slice(1), size.milliseconds));
    }
    // Of each round by itself: a busy moment of the machine hits both.
    const against = (double: readonly number[], single: readonly number[]) => median(double.map((value, i) => value / single[i]));
    const by = (of: keyof Rate, side: readonly Rate[]) => side.map((one) => one[of]);
    const ratios = {
      clock: against(by('clock', rounds.two), by('clock', rounds.one)),
      processor: against(by('processor', rounds.two), by('processor', rounds.one)),
    };
    const ratio = ratios[size.by];
    const millions = (values: readonly number[]) => (median(values) / 1e6).toFixed(2);
    const processors = availableParallelism();
    return {
      // With one processor there is nothing to be shown.
      passed: processors < 2 || ratio >= size.ratio,
      figures: {
        processors,
        'two threads against one, median of rounds': `${ratios.clock.toFixed(2)} ×${size.by === 'clock' ? ` (at least ${size.ratio})` : ''}`,
        'the same by the CPU time that threads had': `${ratios.processor.toFixed(2)} ×`,
        'million packets a second: one thread, two': `${millions(by('clock', rounds.one))}, ${millions(by('clock', rounds.two))}`,
        'the same path in C, two processes against one': `${
          programs.length === 0
            ? size.floor
              ? COMPILER_HINT
              : 'not asked'
            : `${against(rounds.twoInC, rounds.oneInC).toFixed(2)} ×; ${millions(rounds.oneInC)}, ${millions(rounds.twoInC)} million a second`
        }`,
        'rounds of all four in turn': `${size.rounds} of ${size.milliseconds} ms each`,
      },
    };
  } finally {
    for (const program of programs) program.stop();
    await Promise.all(sets.map((set) => set.stop()));
  }
}

export const twoThreads: Line = {
  name: 'two-threads',
  claim:
    'Two forwarding threads over memory drivers pass at least 1.8 times the packets of one: packet path, flow table and counters of one thread do not stand in the way of another’s.',
  twin: 'test/full/two-threads.test.ts',
  run,
};
