/**
 * `npm run bench -- forward`: packets a second and processor time a packet, through the whole of it: from a client's link by TUN through the director and out by
 * a raw socket to a worker's link, more packets offered than go through. Beside it a C program with the same system calls that only prepends
 * constant bytes (floor/forward.c), in the same lab, round by round in turn.
 */
import { median, type Ratio, ratio } from './bulk/ratio.ts';
import { contenders } from './forward/contenders.ts';
import { Course, type Load } from './forward/course.ts';
import { linkRows } from './forward/link.ts';

export const name = 'forward';

/** Of ingress and egress: what `--driver` takes. */
export const drivers = ['tun', 'packet', 'xdp'] as const;

const SIZES = [64, 512, 1500];

export interface ForwardPlan {
  readonly rounds: number;
  readonly threads: readonly number[];
  readonly sizes: readonly number[];
  /** Seconds: measured in each round, and before that not measured. */
  readonly seconds: number;
  readonly lead: number;
  /** Seconds that each contender forwards as much as it can after its start. */
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
    for (const threads of plan.threads) {
      const [ours, floor] = contenders(course.programs, threads);
      for (const contender of [ours, floor]) await course.start(contender, threads, plan.warmUp);
      for (let round = 0; round < plan.rounds; round++) {
        for (const result of results.filter((one) => one.threads === threads)) {
          // Every other round backwards: nobody always follows the same neighbour.
          for (const contender of round % 2 === 0 ? [ours, floor] : [floor, ours]) {
            course.turn(contender);
            const load = await course.load(result.size, plan.lead, plan.seconds);
            (contender === ours ? result.ours : result.floor).push(load);
          }
        }
      }
      await course.stop();
    }
  } finally {
    await course.close();
  }
  return results;
}

/** Packets a second: ours over the floor's, round by round. */
export function rates({ ours, floor }: Forwarded): Ratio {
  return ratio(
    ours.map((one) => one.rate),
    floor.map((one) => one.rate),
  )!;
}

export interface ForwardOptions {
  readonly quick: boolean;
  /** One of `drivers`; absent: all. */
  readonly driver?: string;
}

export async function run({ quick, driver }: ForwardOptions): Promise<{ name: string; rows: Record<string, string | number>[] }> {
  const links = (['packet', 'xdp'] as const).filter((link) => driver === undefined || driver === link);
  const rows = driver === undefined || driver === 'tun' ? await tunRows(quick) : [];
  return { name, rows: [...rows, ...(await linkRows(links, quick))] };
}

async function tunRows(quick: boolean): Promise<Record<string, string | number>[]> {
  const plan: ForwardPlan = quick
    ? { rounds: 5, threads: [1], sizes: [64], seconds: 0.3, lead: 0.1, warmUp: 2 }
    : { rounds: 9, threads: [1, 2], sizes: SIZES, seconds: 0.5, lead: 0.1, warmUp: 3 };
  return (await measure(plan)).map((forwarded) => {
    const { threads, size, ours, floor } = forwarded;
    const compared = rates(forwarded);
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
}
