// Bulk: one TCP upload, client – (what is measured) – worker, all in one lab of namespaces, one run, the contenders in turn. Counted by the
// server's application. Everybody who tunnels sends to the same worker. docs/performance.md, "Bulk", says how to read the figures.
//
//     iperf3 ──► router ──► director │ floor in C │ HAProxy │ plain forwarding ──► worker: iperf3
//        ▲                                                                              │
//        └──────────────────────── answers, direct (HAProxy: through it) ◄─────────────┘

import { loadavg } from 'node:os';
import { CodedError } from '../src/base/errors.ts';
import { lastLines } from '../src/demo/cast.ts';
import { findCommand } from '../test/needs.ts';
import { type Contender, director, floor, forwarding, haproxy } from './bulk/contenders.ts';
import { Course, type Length, type Run } from './bulk/course.ts';
import { median, type Ratio, ratio } from './bulk/ratio.ts';
import { buildFloor, COMPILER_HINT, type FloorPrograms } from './floor/build.ts';

export const name = 'bulk';

const DIRECTOR = director('director, udp', '{ driver: udp }');
const OFFLOAD = director('director, tap-offload', '{ driver: tap-offload }');
const PROXY = haproxy();

export interface Plan {
  readonly rounds: number;
  /** Length of one upload, and of the one before it that is not measured. */
  readonly seconds: number;
  readonly warmUp: number;
  /** Connections side by side; each number is a race of its own. */
  readonly streams: readonly number[];
}

export interface Race {
  readonly streams: number;
  /** Runs of each contender, one per round; a contender that could not start has none. */
  readonly runs: ReadonlyMap<string, readonly Run[]>;
}

export interface Bulk {
  readonly races: readonly Race[];
  /** Contender → why it did not take part. */
  readonly absent: ReadonlyMap<string, string>;
  readonly worker: string;
  /** Mean number of processes that wanted to run when the bench began: above 0.5, others were at work. */
  readonly load: number;
  /** One upload through the director to the project's own worker, which verifies each inner checksum; and what that worker said. */
  readonly verified: Run;
  readonly verdict: string;
}

export interface Goal {
  readonly of: string;
  readonly over: string;
  readonly least: number;
  /** A wish, not a promise. */
  readonly moonshot: boolean;
}

export const GOALS: readonly Goal[] = [
  { of: DIRECTOR.name, over: PROXY.name, least: 1.3, moonshot: false },
  { of: DIRECTOR.name, over: 'floor in C', least: 0.95, moonshot: false },
  { of: DIRECTOR.name, over: forwarding.name, least: 0.6, moonshot: true },
  { of: OFFLOAD.name, over: PROXY.name, least: 1.3, moonshot: false },
  { of: OFFLOAD.name, over: forwarding.name, least: 0.8, moonshot: true },
];

/** The ratio of a goal over the rounds of a race; null when one of the two did not take part. */
export function judge(goal: Goal, race: Race): Ratio | null {
  const rates = (contender: string) => (race.runs.get(contender) ?? []).map((run) => run.bytes / run.seconds);
  return ratio(rates(goal.of), rates(goal.over));
}

/** Runs everything; `say` is told each figure as it comes. */
export async function measure(plan: Plan, say: (line: string) => void): Promise<Bulk> {
  if (findCommand('iperf3') === null) throw new Error('iperf3 is not installed; apt-get install -y iperf3');
  const load = loadavg()[0];
  const absent = new Map<string, string>();
  const programs = buildFloor();
  const contenders = field(programs, absent);
  const { verified, verdict } = await verify(say);
  const course = await Course.open(programs);
  const races: Race[] = [];
  try {
    for (const streams of plan.streams) races.push(await race(course, contenders, { ...plan, streams }, absent, say));
  } finally {
    await course.close();
  }
  const worker = programs === null ? 'the project’s own' : 'bench/floor/decapsulate.c';
  return { races, absent, worker, load, verified, verdict };
}

/** Who takes part on this machine. */
function field(programs: FloorPrograms | null, absent: Map<string, string>): Contender[] {
  const contenders = [DIRECTOR, OFFLOAD];
  if (programs === null) absent.set('floor in C', COMPILER_HINT);
  else contenders.push(floor(programs));
  if (findCommand('haproxy') === null) absent.set(PROXY.name, 'apt-get install -y haproxy');
  else contenders.push(PROXY);
  return [...contenders, forwarding];
}

/** A wrong checksum is dropped by the project's own worker or by the kernel behind it: an upload that arrives had none. */
async function verify(say: (line: string) => void): Promise<{ verified: Run; verdict: string }> {
  const course = await Course.open(null);
  let verified: Run;
  try {
    verified = await course.run(DIRECTOR, { seconds: 1, warmUp: 0, streams: 1 });
  } finally {
    await course.close();
  }
  const verdict = course.lastWords;
  say(`checked with the project's own worker: ${gigabits(verified)} Gbit/s; ${verdict}`);
  return { verified, verdict };
}

async function race(
  course: Course,
  contenders: readonly Contender[],
  plan: Length & { readonly rounds: number },
  absent: Map<string, string>,
  say: (line: string) => void,
): Promise<Race> {
  const runs = new Map<string, Run[]>();
  for (let round = 0; round < plan.rounds; round++) {
    // Every other round backwards: nobody always follows the same neighbour.
    const order = round % 2 === 0 ? contenders : contenders.toReversed();
    for (const contender of order) {
      if (absent.has(contender.name)) continue;
      const run = await attempt(course, contender, plan, absent);
      if (run === null) continue;
      say(`${plan.streams} × TCP, round ${round + 1}: ${contender.name.padEnd(22)} ${gigabits(run)} Gbit/s`);
      runs.set(contender.name, [...(runs.get(contender.name) ?? []), run]);
    }
  }
  return { streams: plan.streams, runs };
}

/** One run. A transfer that fails is tried once more; a contender that can not start here is left out from then on. */
async function attempt(course: Course, contender: Contender, length: Length, absent: Map<string, string>): Promise<Run | null> {
  for (let left = 1; ; left--) {
    try {
      return await course.run(contender, length);
    } catch (error) {
      if (contender === OFFLOAD) {
        absent.set(contender.name, reasonOf(error));
        return null;
      }
      if (left === 0) throw error;
    }
  }
}

/** What it said, and of what it wrote before it ended the last line. */
function reasonOf(error: unknown): string {
  if (!(error instanceof CodedError)) return (error as Error).message;
  return `${error.message}: ${lastLines(error.hint, 1)}`;
}

export const gigabits = (run: Run): string => ((run.bytes * 8) / run.seconds / 1e9).toFixed(2);

/** Median over a contender's runs, with the smallest and the largest when there are several. */
export function spread(values: readonly number[], digits: number): string {
  const middle = median(values).toFixed(digits);
  return values.length < 2 ? middle : `${middle} (${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)})`;
}

/** Processor seconds per GB of each run; empty for the kernel alone. */
export function processorCost(runs: readonly Run[]): number[] {
  return runs.flatMap((run) => (run.processor === null ? [] : [run.processor / (run.bytes / 1e9)]));
}

function rowsOf({ streams, runs }: Race): Record<string, string | number>[] {
  const sum = (list: readonly Run[], of: (run: Run) => number) => list.reduce((total, run) => total + of(run), 0);
  return [...runs].map(([contender, list]) => ({
    contender,
    streams,
    'Gbit/s': spread(list.map(gigabits).map(Number), 2),
    'CPU-s per GB': processorCost(list).length === 0 ? '–' : spread(processorCost(list), 2),
    retransmitted: sum(list, (run) => run.retransmits),
    'drops: own': sum(list, (run) => run.refused),
    tun: sum(list, (run) => run.drops.tun),
    links: sum(list, (run) => run.drops.links),
    socket: sum(list, (run) => run.drops.socket),
  }));
}

/** A goal's ratio as text: `1.42 (1.31–1.55), goal ≥ 1.3: reached`. */
export function goalText(goal: Goal, { middle, least, most }: Ratio): string {
  const said = `${middle.toFixed(2)} (${least.toFixed(2)}–${most.toFixed(2)})`;
  return `${said}, ${goal.moonshot ? 'moonshot' : 'goal'} ≥ ${goal.least}: ${middle >= goal.least ? 'reached' : 'missed'}`;
}

export async function run({ quick }: { quick: boolean }) {
  const plan = quick ? { rounds: 1, seconds: 1, warmUp: 1, streams: [1] } : { rounds: 5, seconds: 3, warmUp: 1, streams: [1, 4] };
  const { races, absent, worker, load, verdict } = await measure(plan, (line) => console.error(line));
  const rows: Record<string, string | number>[] = races.flatMap(rowsOf);
  for (const one of races) {
    for (const goal of GOALS) {
      const found = judge(goal, one);
      if (found === null) continue;
      rows.push({ ratio: `${goal.of} / ${goal.over}`, streams: one.streams, 'median (least–most)': goalText(goal, found) });
    }
  }
  rows.push(
    { note: 'worker', value: worker },
    { note: 'load before', value: load.toFixed(2) },
    { note: 'checked', value: verdict },
  );
  for (const [contender, why] of absent) rows.push({ note: `without ${contender}`, value: why });
  return { name, rows };
}
