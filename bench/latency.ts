/**
 * `npm run bench -- latency`: how long packets take from the client's system call to the worker's, through the director (tun in, raw out) and through the C
 * program with the same system calls (floor/forward.c), idle and at half of what goes through, round by round in turn. Both have the same
 * links, router and receiver, so that what differs is theirs.
 */
import { median, ratio } from './bulk/ratio.ts';
import { Course, contenders, type Delay } from './forward/course.ts';

export const name = 'latency';

const BYTES = 128;
const IDLE_RATE = 1000;

export interface LatencyPlan {
  readonly rounds: number;
  /** Measured at each load, and before that not measured. */
  readonly seconds: number;
  readonly warmUp: number;
}

export interface Delayed {
  readonly load: string;
  /** Packets a second. */
  readonly rate: number;
  readonly ours: (Delay & { readonly lost: number })[];
  readonly floor: (Delay & { readonly lost: number })[];
}

export async function measure(plan: LatencyPlan): Promise<Delayed[]> {
  const course = Course.open();
  try {
    const [ours, floor] = contenders(course.programs, 1);
    await course.start(ours, 1);
    const { rate } = await course.load(BYTES, plan.warmUp, plan.seconds);
    await course.stop();
    const results: Delayed[] = [
      { load: 'idle', rate: IDLE_RATE, ours: [], floor: [] },
      { load: 'half', rate: Math.round(rate / 2), ours: [], floor: [] },
    ];
    for (let round = 0; round < plan.rounds; round++) {
      for (const contender of round % 2 === 0 ? [ours, floor] : [floor, ours]) {
        await course.start(contender, 1);
        for (const result of results) {
          const delay = await course.delay(BYTES, result.rate, plan.warmUp, plan.seconds);
          (contender === ours ? result.ours : result.floor).push(delay);
        }
        await course.stop();
      }
    }
    return results;
  } finally {
    await course.close();
  }
}

const PERCENTILES = [
  ['p50', 'p50'],
  ['p99', 'p99'],
  ['p99.9', 'p999'],
] as const;

export async function run({ quick }: { quick: boolean }): Promise<{ name: string; rows: Record<string, string | number>[] }> {
  const results = await measure(quick ? { rounds: 1, seconds: 1, warmUp: 0.5 } : { rounds: 5, seconds: 1.5, warmUp: 0.5 });
  const rows = results.flatMap(({ load, rate, ours, floor }) =>
    PERCENTILES.map(([words, key]) => {
      const compared = ratio(
        ours.map((one) => one[key]),
        floor.map((one) => one[key]),
      )!;
      return {
        load: `${load}, ${rate} a second`,
        percentile: words,
        µs: Number((median(ours.map((one) => one[key])) / 1000).toFixed(1)),
        'in C': Number((median(floor.map((one) => one[key])) / 1000).toFixed(1)),
        '× C (least–most)': `${compared.middle.toFixed(2)} (${compared.least.toFixed(2)}–${compared.most.toFixed(2)})`,
        lost: ours.reduce((sum, one) => sum + one.lost, 0),
        'lost in C': floor.reduce((sum, one) => sum + one.lost, 0),
      };
    }),
  );
  return { name, rows };
}
