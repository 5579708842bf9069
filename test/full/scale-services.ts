// A thousand services of two hundred workers each: what it takes to publish them, what one backend that goes down and comes back costs, and what the packets of all
// services meanwhile notice. The control plane and the threads are the daemon's; packets come from memory and go to memory.

import { MemoryThreads } from '../../bench/memory-threads.ts';
import { type Change, ScaleControl } from '../../bench/scale-control.ts';
import { configurationOf, framesOf, type Scene } from '../../bench/scale-spec.ts';
import { loadText } from '../../src/config/load.ts';
import type { Line, Outcome, Scale } from './line.ts';

interface Size extends Scene {
  readonly flaps: number;
  /** Milliseconds between two flaps, and for which batches are timed with and without flaps, in turn. */
  readonly pause: number;
  readonly rounds: number;
  /** The goals, milliseconds; Infinity: a figure, not judged. */
  readonly publish: number;
  readonly flap: number;
  /** How many times its own the p99 of batches may be while flaps go on. */
  readonly p99: number;
}

const SIZES: Readonly<Record<Scale, Size>> = {
  full: { services: 1000, backends: 200, tableSize: 4093, flaps: 20, pause: 100, rounds: 5, publish: 1000, flap: 20, p99: 1.1 },
  // A fifth of the services, a tenth of the backends: the suite's machine does other things too, so only what is wrong by an order of magnitude fails here.
  scaled: {
    services: 200,
    backends: 20,
    tableSize: 4093,
    flaps: 3,
    pause: 20,
    rounds: 2,
    publish: 10_000,
    flap: 3000,
    p99: Number.POSITIVE_INFINITY,
  },
};
const FLOWS = 20_000;
const WARM_UP_FLAPS = 6;

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b);
const middle = (values: readonly number[]) => sorted(values)[values.length >> 1];
const shown = (value: number) => value.toFixed(1);

async function run(scale: Scale): Promise<Outcome> {
  const size = SIZES[scale];
  const read = performance.now();
  const config = loadText(configurationOf(size), 'director.yaml');
  const loaded = performance.now() - read;
  const control = new ScaleControl(loadText(configurationOf({ services: 1, backends: 2, tableSize: 251 }), 'small.yaml'));
  let threads: MemoryThreads | null = null;
  try {
    control.controller.adopt(control.controller.config);
    const snapshot = control.publisher.current;
    if (snapshot === null) throw new Error('nothing was published');
    threads = await MemoryThreads.start({ threads: 1, snapshot, frames: [framesOf(size.services, FLOWS)], flowEntries: 65_536 });
    for (const thread of threads.threads) control.publisher.subscribe(thread);
    const published = await control.adopt(config);
    await sleep(500);
    const flaps: Change[] = [];
    let flapped = 0;
    const flap = async () => {
      const pool = `p${(flapped * 7) % size.services}`;
      const backend = `w${flapped % size.backends}`;
      flapped++;
      for (const serves of [false, true]) {
        flaps.push(await control.flap(pool, backend, serves));
        await sleep(size.pause);
      }
    };
    // A director's compiler has seen more than one change.
    for (let i = 0; i < WARM_UP_FLAPS; i++) await flap();
    flaps.length = 0;
    const [still, busy]: [number[], number[]] = [[], []];
    for (let round = 0; round < size.rounds; round++) {
      threads.forgetTimes();
      await sleep(size.flaps * 2 * size.pause);
      still.push(threads.times().p99);
      threads.forgetTimes();
      for (let i = 0; i < size.flaps; i++) await flap();
      busy.push(threads.times().p99);
    }
    const { longest } = threads.times();
    const took = flaps.map(({ everywhere }) => everywhere);
    const [before, during] = [middle(still), middle(busy)];
    const passed = published.everywhere <= size.publish && Math.max(...took) <= size.flap && during <= before * size.p99;
    return {
      passed,
      figures: {
        'services × backends, slots of each table': `${size.services} × ${size.backends}, ${size.tableSize}`,
        'read and checked (YAML of 200 workers named by an anchor), ms': Math.round(loaded),
        'published: from the checked file until the forwarding thread reads it, ms': `${Math.round(published.everywhere)} (main ${Math.round(published.main)}; at most ${size.publish})`,
        [`one backend goes down or comes back, ${took.length} times: until the thread reads it, ms`]: `median ${shown(middle(took))}, most ${shown(Math.max(...took))} (main: median ${shown(middle(flaps.map(({ main }) => main)))}; at most ${size.flap})`,
        'p99 from batch to batch (64 packets of all services), µs, median of rounds': `${before} without flaps, ${during} with (${(during / before).toFixed(2)} ×)`,
        'longest batch while flaps went on, µs': Math.round(longest),
        'resident memory of the process, MB': Math.round(process.memoryUsage.rss() / 1e6),
      },
    };
  } finally {
    await threads?.stop();
    control.close();
  }
}

export const scaleServices: Line = {
  name: 'scale-services',
  claim:
    'A configuration of 1,000 services with 200 backends each (tables of 4,093 slots) is published within 1 s; one backend that goes down or comes back is in force in every thread within 20 ms, and the p99 of batches does not notice (at most 1.1 times).',
  twin: 'test/full/scale-services.test.ts',
  run,
};
