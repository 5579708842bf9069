// The bench forward for drivers that write link headers, `packet` and `xdp`: the director and a C program that does the same with sockets of the same kind.

import { median, type Ratio, ratio } from '../bulk/ratio.ts';
import { LinkCourse, type LinkDriver, type LinkLoad } from './link-course.ts';

export interface LinkPlan {
  readonly drivers: readonly LinkDriver[];
  readonly sizes: readonly number[];
  readonly rounds: number;
  /** Seconds: measured in each round, and before that not measured. */
  readonly seconds: number;
  readonly lead: number;
  /** Seconds that the director forwards as much as it can after its start; its floor, which has nothing to warm, half a second at most. */
  readonly warmUp: number;
  /** Full queues that are emptied in each round. */
  readonly drains: number;
}

/** What one contender did, round by round. */
export interface LinkRounds {
  /** More offered than goes through. */
  readonly loads: LinkLoad[];
  /** Packets a second from full queues, the median of a round's. */
  readonly drained: number[];
}

/** Of one driver and size. `resident`: kilobytes of the director's memory that are present. */
export interface LinkForwarded {
  readonly driver: LinkDriver;
  readonly size: number;
  readonly ours: LinkRounds;
  readonly floor: LinkRounds;
}

/** Packets that a queue holds for certain: the ring of frames, and the frames that an AF_XDP socket lends. */
const FULL: Readonly<Record<LinkDriver, number>> = { packet: 8000, xdp: 1900 };
const FLOOR_WARM_UP = 0.5;

export async function measureLink(plan: LinkPlan): Promise<LinkForwarded[]> {
  const { drivers, sizes, rounds, lead, seconds, warmUp, drains } = plan;
  const results: LinkForwarded[] = [];
  const course = LinkCourse.open();
  try {
    for (const driver of drivers) {
      await course.start('director', driver, warmUp);
      await course.start('floor', driver, Math.min(warmUp, FLOOR_WARM_UP));
      const own = sizes.map((size): LinkForwarded => ({ driver, size, ours: fresh(), floor: fresh() }));
      results.push(...own);
      for (let round = 0; round < rounds; round++) {
        for (const { size, ours, floor } of own) {
          const both = [['director', ours] as const, ['floor', floor] as const];
          // Every other round backwards: nobody always follows the same neighbour.
          for (const [contender, into] of round % 2 === 0 ? both : both.reverse()) {
            course.turn(contender);
            into.loads.push(await course.load(size, lead, seconds));
            const drained: number[] = [];
            for (let k = 0; k < drains; k++) drained.push(await course.drain(size, FULL[driver]));
            into.drained.push(median(drained));
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

function fresh(): LinkRounds {
  return { loads: [], drained: [] };
}

const rates = ({ loads }: LinkRounds) => loads.map(({ rate }) => rate);

/** Packets a second, ours over the floor's, round by round: with more offered than goes through, and from full queues. */
export function linkRatios({ ours, floor }: LinkForwarded): { readonly offered: Ratio; readonly drained: Ratio } {
  return { offered: ratio(rates(ours), rates(floor))!, drained: ratio(ours.drained, floor.drained)! };
}

/** Medians of the rounds: packets a second offered, through, and from full queues; µs of processor time a packet; how much of its processor the busiest thread had. */
export function linkFigures({ loads, drained }: LinkRounds) {
  const of = (figure: (load: LinkLoad) => number) => median(loads.map(figure));
  return {
    offered: Math.round(of(({ offered }) => offered)),
    rate: Math.round(of(({ rate }) => rate)),
    drained: Math.round(median(drained)),
    processor: Number((of(({ processor }) => processor) * 1e6).toFixed(2)),
    busy: Number(of(({ busy }) => busy).toFixed(2)),
  };
}

export const words = ({ middle, least, most }: Ratio) => `${middle.toFixed(2)} (${least.toFixed(2)}–${most.toFixed(2)})`;

/** Rows of the bench's table. */
export async function linkRows(drivers: readonly LinkDriver[], quick: boolean): Promise<Record<string, string | number>[]> {
  const plan = quick
    ? { sizes: [64], rounds: 3, lead: 0.1, seconds: 0.3, warmUp: 2, drains: 3 }
    : { sizes: [64, 512, 1500], rounds: 9, lead: 0.1, seconds: 0.4, warmUp: 6, drains: 5 };
  return (await measureLink({ drivers, ...plan })).map((forwarded) => {
    const { offered, drained } = linkRatios(forwarded);
    const [ours, floor] = [linkFigures(forwarded.ours), linkFigures(forwarded.floor)];
    return {
      drivers: `${forwarded.driver}, ${forwarded.driver}`,
      bytes: forwarded.size,
      'packets/s': ours.rate,
      'in C': floor.rate,
      '× C (least–most)': words(offered),
      'full queues: packets/s': ours.drained,
      'their × C': words(drained),
      'CPU µs/packet': ours.processor,
      'C CPU µs/packet': floor.processor,
      busy: ours.busy,
      'C busy': floor.busy,
    };
  });
}
