/**
 * `npm run bench -- reload`: what packets of one service notice while the director takes over one configuration after the other. In each the weights of twenty
 * other pools are different, so that all their tables are built anew and every forwarding thread changes over. Paced packets through namespaces (tun in,
 * raw out), rounds without and with reloads in turn.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { directorConfiguration } from '../src/demo/configuration.ts';
import type { Lab } from '../src/demo/lab/topology.ts';
import { director } from './bulk/contenders.ts';
import { median, ratio } from './bulk/ratio.ts';
import { Course, type Delay } from './forward/course.ts';

export const name = 'reload';

const BYTES = 128;
const RATE = 10_000;
const POOLS = 20;
const BACKENDS = 50;
/** Seconds before the first reload, and after the last one, that belong to the round. */
const LEAD = 0.2;

export interface ReloadPlan {
  readonly rounds: number;
  /** Seconds of a round; reloads in it, evenly spread. */
  readonly seconds: number;
  readonly reloads: number;
  /** Seconds of as many packets as go through, after the start. */
  readonly warmUp: number;
}

export interface Disturbed {
  readonly still: Delay[];
  readonly reloading: Delay[];
  /** Reloads that were asked for, and that succeeded. */
  readonly asked: number;
  readonly done: number;
}

/** The lab's service, and others whose backends' weights `step` says. */
function configuration(lab: Lab, step: number): string {
  const pools = Array.from({ length: POOLS }, (_, p) => {
    const backends = Array.from(
      { length: BACKENDS },
      (_, b) => `      - { name: b${b}, address: "10.80.1.${100 + b}", weight: ${1 + ((b + p + step) % 3)} }`,
    );
    return `  other-${p}:\n    backends:\n${backends.join('\n')}\n`;
  });
  const services = pools.map(
    (_, p) => `  - { name: other-${p}, address: "10.80.10.${p + 1}", protocol: tcp, port: 80, pool: other-${p} }\n`,
  );
  return directorConfiguration(lab, { egress: '{ driver: raw }' })
    .replace('services:\n', `services:\n${services.join('')}`)
    .replace('pools:\n', `pools:\n${pools.join('')}`);
}

export async function measure(plan: ReloadPlan): Promise<Disturbed> {
  const course = Course.open();
  try {
    let step = 0;
    const ours = director('director', '', (lab) => configuration(lab, step));
    const running = await course.start(ours, 1, plan.warmUp);
    const [still, reloading]: [Delay[], Delay[]] = [[], []];
    let asked = 0;
    const reload = () => {
      step++;
      asked++;
      writeFileSync(running.file!, configuration(course.lab, step));
      process.kill(running.pid!, 'SIGHUP');
    };
    for (let round = 0; round < plan.rounds; round++) {
      for (const quiet of round % 2 === 0 ? [true, false] : [false, true]) {
        const measuring = course.delay(BYTES, RATE, LEAD, plan.seconds);
        if (!quiet) {
          await sleep(LEAD * 1000);
          for (let i = 0; i < plan.reloads; i++) {
            await sleep(((plan.seconds - LEAD) / plan.reloads) * 1000);
            reload();
          }
        }
        (quiet ? still : reloading).push(await measuring);
      }
    }
    return { still, reloading, asked, done: await running.reloads!() };
  } finally {
    await course.close();
  }
}

const PERCENTILES = [
  ['p50', 'p50'],
  ['p99', 'p99'],
  ['p99.9', 'p999'],
  ['longest', 'longest'],
] as const;

export async function run({ quick }: { quick: boolean }): Promise<{ name: string; rows: Record<string, string | number>[] }> {
  const { still, reloading, asked, done } = await measure(
    quick ? { rounds: 2, seconds: 1, reloads: 3, warmUp: 1 } : { rounds: 9, seconds: 3, reloads: 6, warmUp: 3 },
  );
  const lost = (delays: readonly Delay[]) => delays.reduce((sum, one) => sum + one.lost, 0);
  const sum = (delays: readonly Delay[]) => delays.reduce((all, one) => all + one.packets, 0);
  const rows: Record<string, string | number>[] = PERCENTILES.map(([words, key]) => {
    const compared = ratio(
      reloading.map((one) => one[key]),
      still.map((one) => one[key]),
    )!;
    return {
      [`${RATE} packets a second`]: words,
      'without, µs': Number((median(still.map((one) => one[key])) / 1000).toFixed(1)),
      'with reloads, µs': Number((median(reloading.map((one) => one[key])) / 1000).toFixed(1)),
      '× (least–most)': `${compared.middle.toFixed(2)} (${compared.least.toFixed(2)}–${compared.most.toFixed(2)})`,
    };
  });
  rows.push({
    reloads: `${done} of ${asked}`,
    pools: POOLS,
    'backends each': BACKENDS,
    'packets without': sum(still),
    'lost without': lost(still),
    'packets with': sum(reloading),
    'lost with': lost(reloading),
  });
  return { name, rows };
}
