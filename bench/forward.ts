/**
 * `npm run bench -- forward`: packets a second and processor time a packet, through the whole of it: from a client's link by TUN through the director and out by
 * a raw socket to a worker's link, more packets offered than go through. Beside it a C program with the same system calls that only prepends
 * constant bytes (floor/forward.c), in the same lab, round by round in turn.
 */
import { median, ratio } from './bulk/ratio.ts';
import { Course, contenders, type Load } from './forward/course.ts';

export const name = 'forward';

const SIZES = [64, 512, 1500];

export interface ForwardPlan {
  readonly rounds: number;
  readonly threads: readonly number[];
  readonly sizes: readonly number[];
  /** Measured, and before that not measured. */
  readonly seconds: number;
  readonly warmUp: number;
}

/** Of one size and number of threads: round by round. */
export interface Forwarded {
  readonly threads: number;
  readonly size: number;
  readonly ours: Load[];
  readonly floor: Load[];
}

export async function measure(plan: ForwardPlan): Promise<Forwarded[]> {
  const results = plan.threads.flatMap((threads) =>
    plan.sizes.map((size): Forwarded => ({ threads, size, ours: [], floor: [] })),
  );
  const course = Course.open();
  try {
    for (let round = 0; round < plan.rounds; round++) {
      for (const threads of plan.threads) {
        const [ours, floor] = contenders(course.programs, threads);
        // Every other round backwards: nobody always follows the same neighbour.
        for (const contender of round % 2 === 0 ? [ours, floor] : [floor, ours]) {
          await course.start(contender, threads);
          for (const result of results.filter((one) => one.threads === threads)) {
            const load = await course.load(result.size, plan.warmUp, plan.seconds);
            (contender === ours ? result.ours : result.floor).push(load);
          }
          await course.stop();
        }
      }
    }
  } finally {
    await course.close();
  }
  return results;
}

export async function run({ quick }: { quick: boolean }): Promise<{ name: string; rows: Record<string, string | number>[] }> {
  const plan: ForwardPlan = quick
    ? { rounds: 1, threads: [1], sizes: [64], seconds: 0.5, warmUp: 0.5 }
    : { rounds: 3, threads: [1, 2], sizes: SIZES, seconds: 0.7, warmUp: 0.3 };
  const rows = (await measure(plan)).map(({ threads, size, ours, floor }) => {
    const compared = ratio(
      ours.map((one) => one.rate),
      floor.map((one) => one.rate),
    )!;
    return {
      drivers: 'tun, raw',
      threads,
      bytes: size,
      'packets/s': Math.round(median(ours.map((one) => one.rate))),
      'in C': Math.round(median(floor.map((one) => one.rate))),
      '× C (least–most)': `${compared.middle.toFixed(2)} (${compared.least.toFixed(2)}–${compared.most.toFixed(2)})`,
      'CPU µs/packet': Number((median(ours.map((one) => one.processor)) * 1e6).toFixed(2)),
      'C CPU µs/packet': Number((median(floor.map((one) => one.processor)) * 1e6).toFixed(2)),
    };
  });
  return { name, rows };
}
