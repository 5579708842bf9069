/**
 * `npm run bench -- latency`: how long packets take from the client's system call to the worker's, through the director (tun in, raw out) and through the C
 * program with the same system calls (floor/forward.c), idle and at half of what goes through, round by round in turn. Both have the same
 * links, router and receiver, so that what differs is theirs.
 */
import { median, type Ratio, ratio } from './bulk/ratio.ts';
import { contenders } from './forward/contenders.ts';
import { Course, type Delay } from './forward/course.ts';

export const name = 'latency';

const BYTES = 128;
const IDLE_RATE = 1000;

export interface LatencyPlan {
  readonly rounds: number;
  /** Seconds: measured in each round at each load, and before that not measured. */
  readonly seconds: number;
  readonly lead: number;
  /** Seconds that each contender forwards as much as it can after its start, and for which is then measured how much that is. */
  readonly warmUp: number;
  readonly loading: number;
}

export interface Delayed {
  readonly load: string;
  /** Packets a second. */
  readonly rate: number;
  readonly ours: Delay[];
  readonly floor: Delay[];
}

export async function measure(plan: LatencyPlan): Promise<Delayed[]> {
  const course = Course.open();
  try {
    const [ours, floor] = contenders(course.programs, 1);
    let least = Number.POSITIVE_INFINITY;
    for (const contender of [ours, floor]) {
      await course.start(contender, 1, plan.warmUp);
      least = Math.min(least, (await course.load(BYTES, plan.lead, plan.loading)).rate);
    }
    // The same for both, so that neither has more to do.
    const results: Delayed[] = [
      { load: 'idle', rate: IDLE_RATE, ours: [], floor: [] },
      { load: 'half', rate: Math.round(least / 2), ours: [], floor: [] },
    ];
    for (let round = 0; round < plan.rounds; round++) {
      for (const result of results) {
        for (const contender of round % 2 === 0 ? [ours, floor] : [floor, ours]) {
          course.turn(contender);
          const delay = await course.delay(BYTES, result.rate, plan.lead, plan.seconds);
          (contender === ours ? result.ours : result.floor).push(delay);
        }
      }
    }
    return results;
  } finally {
    await course.close();
  }
}

export type Percentile = 'p50' | 'p99' | 'p999';

/** Ours over the floor's, round by round. */
export function delays({ ours, floor }: Delayed, of: Percentile): Ratio {
  return ratio(
    ours.map((one) => one[of]),
    floor.map((one) => one[of]),
  )!;
}

const PERCENTILES = [
  ['p50', 'p50'],
  ['p99', 'p99'],
  ['p99.9', 'p999'],
] as const;

export async function run({ quick }: { quick: boolean }): Promise<{ name: string; rows: Record<string, string | number>[] }> {
  const results = await measure(
    quick
      ? { rounds: 5, seconds: 0.5, lead: 0.2, warmUp: 2, loading: 0.3 }
      : { rounds: 15, seconds: 1, lead: 0.2, warmUp: 3, loading: 1 },
  );
  const rows = results.flatMap((delayed) =>
    PERCENTILES.map(([words, key]) => {
      const { load, rate, ours, floor } = delayed;
      const compared = delays(delayed, key);
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
