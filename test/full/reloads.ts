// A thousand reloads under a thousand long-lived transfers, and wrong ones in between. Beside it a control: the same lab, the same transfers, the same
// time, and nobody reloads anything.
//
//     client: paced transfers ──► router ──► director (reloads) ──► worker-1 … worker-3 stay, active, in every configuration
//                ▲                                             └──► worker-4 … come, go, drain, are down
//                └────────────── straight from the workers' kernels ┘
//
// A transfer belongs to the worker that greeted it. Those of workers that stay must not break; those of the others may, and are made anew: new flows
// while tables change.
//
// Senders are patient (as in test/incident/stage.ts): no tail loss probes, a second before a timeout. Where a dozen processes share two cores each now and
// then waits for its turn, and a probe would say that something was lost which was not.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAction, askStatus } from '../../src/admin/client.ts';
import type { Refusal } from '../../src/control/reloader.ts';
import { Actor } from '../../src/demo/cast.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { footprint } from './footprint.ts';
import { retransmitted } from './kernel-counters.ts';
import { deviceDrops, figureOf, patient } from './lab-links.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { metrics } from './metrics.ts';
import { Random } from './random.ts';
import { MUTATIONS, TRANSFER_PORT, UDP_PORTS, Wishes, wrong } from './reload-wishes.ts';

interface Size {
  readonly workers: number;
  /** Of those, the ones that stay. */
  readonly staying: number;
  readonly transfers: number;
  /** Seconds between two messages of one transfer. */
  readonly period: number;
  readonly seconds: number;
  readonly reloads: number;
  readonly wrong: number;
  /** One wrong reload in so many goes through the command, whose exit code is looked at; the others over its socket. */
  readonly byCommand: number;
}

/** The twin: a fiftieth of the reloads, a 25th of the wrong ones, in a 170th of the time. */
const SIZES: Readonly<Record<Scale, Size>> = {
  full: { workers: 6, staying: 3, transfers: 1000, period: 1, seconds: 600, reloads: 1000, wrong: 200, byCommand: 10 },
  scaled: { workers: 3, staying: 2, transfers: 60, period: 0.25, seconds: 3.5, reloads: 20, wrong: 8, byCommand: 8 },
};
const BYTES = 2048;
const PROGRAM = join(import.meta.dirname, 'paced_transfers.py');
/** The machine's own noise: how many more late answers and retransmissions than the control's are still "no more". */
const NOISE = { ratio: 1.25, perMessage: 1 / 5000, least: 3 };

interface Transferred {
  readonly messages: number;
  readonly answers: number;
  readonly datagrams: number;
  readonly staying: number;
  readonly broken: Readonly<Record<string, number>>;
  readonly others: number;
  /** Short-lived connections that ended by themselves. */
  readonly renewed: number;
  readonly wrong: number;
  readonly unanswered: number;
  readonly late: number;
  readonly longest: number;
  readonly retransmissions: number;
}

interface Passage extends Transferred {
  /** Segments that the workers that stay sent a second time. */
  readonly workersRetransmitted: number;
  readonly deviceDrops: number;
  readonly kernelLost: number;
  /** Packets that the TUN device gave, less those that the director counted. */
  readonly uncounted: number;
  readonly packets: Readonly<Record<string, number>>;
  readonly drops: string;
  readonly residentMiB: readonly [number, number];
  readonly descriptors: readonly [number, number];
}

interface Reloaded {
  done: number;
  refusedWrongly: string[];
  refused: number;
  exitCodes: number;
  complaints: string[];
  milliseconds: number[];
}

/** One director, its transfers for `seconds`, and what `meanwhile` does in that time. */
async function passage(
  lab: Lab,
  size: Size,
  first: string,
  meanwhile: (file: string, socket: string, pid: number) => Promise<void>,
): Promise<Passage> {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-reloads-'));
  const file = join(folder, 'director.yaml');
  writeFileSync(file, first);
  const director = Actor.start('the director', lab.director, '../cli/main', 'run', '--config', file);
  try {
    await Promise.race([director.says('"event":"ready"', 30), director.fails(40)]);
    const socket = `${lab.director.runtimeDirectory}/admin.sock`;
    const pid = director.child.pid as number;
    const stay = lab.workers.slice(0, size.staying);
    const client = Actor.command(
      'the client',
      lab.client,
      'python3',
      ...[PROGRAM, 'client', String(size.transfers), String(BYTES), String(size.period), lab.vip4, UDP_PORTS.join(',')],
      ...stay.map(({ role }) => role),
      ...['--', lab.vip4, String(TRANSFER_PORT), lab.vip6, String(TRANSFER_PORT)],
    );
    await client.says('ready', 40);
    const before = {
      drops: deviceDrops(lab),
      workers: stay.reduce((sum, worker) => sum + retransmitted(worker), 0),
      figures: footprint(pid),
    };
    client.child.stdin!.write('go\n');
    await Promise.all([sleep(size.seconds * 1000), meanwhile(file, socket, pid)]);
    client.child.stdin!.end('stop\n');
    const lines = await client.lines(2, 30);
    const transferred = JSON.parse(lines[1]) as Transferred;
    await client.ended;
    // What is on its way arrives.
    await sleep(500);
    const status = await askStatus({ path: socket });
    const { received, forwarded, replied, passed, dropped, lost } = status.packets;
    const after = footprint(pid);
    const given = figureOf(lab.director, 'gd0', 'tx_packets');
    return {
      ...transferred,
      workersRetransmitted: stay.reduce((sum, worker) => sum + retransmitted(worker), 0) - before.workers,
      deviceDrops: deviceDrops(lab) - before.drops,
      kernelLost: lost,
      uncounted: given - received + (received - forwarded - replied - passed - dropped),
      packets: { given, received, forwarded, replied, passed, dropped },
      drops:
        Object.entries(status.drops)
          .map(([reason, packets]) => `${reason} ${packets}`)
          .join(', ') || 'none',
      residentMiB: [Math.round(before.figures.resident), Math.round(after.resident)],
      descriptors: [before.figures.descriptors, after.descriptors],
    };
  } finally {
    const code = await director.stop();
    rmSync(folder, { recursive: true, force: true });
    if (code !== 0) console.error(`the director ended with ${code}:\n${director.words}`);
  }
}

/** Right ones and wrong ones in between, evenly over the time. */
async function reloadAll(size: Size, wishes: Wishes, random: Random, file: string, socket: string, lab: Lab): Promise<Reloaded> {
  const told: Reloaded = { done: 0, refusedWrongly: [], refused: 0, exitCodes: 0, complaints: [], milliseconds: [] };
  const all = size.reloads + size.wrong;
  const kinds = Object.keys(MUTATIONS);
  const start = performance.now();
  let right = wishes.yaml();
  for (let i = 0; i < all; i++) {
    const due = start + ((i + 0.5) * size.seconds * 1000) / all;
    if (due > performance.now()) await sleep(due - performance.now());
    // Evenly: the wrong ones are those at which their share reaches the next whole number.
    if (Math.floor(((i + 1) * size.wrong) / all) > Math.floor((i * size.wrong) / all)) {
      await reloadWrong(
        told,
        wrong(right, kinds[told.refused % kinds.length], random),
        kinds[told.refused % kinds.length],
        size,
        file,
        socket,
        lab,
      );
      continue;
    }
    right = wishes.next();
    writeFileSync(file, right);
    const began = performance.now();
    const { status, body } = await askAction(socket, '/-/reload');
    told.milliseconds.push(performance.now() - began);
    if (status === 200) told.done++;
    else told.refusedWrongly.push(`${JSON.stringify(body.refusal)} for\n${right}`);
  }
  return told;
}

async function reloadWrong(
  told: Reloaded,
  text: string,
  what: string,
  size: Size,
  file: string,
  socket: string,
  lab: Lab,
): Promise<void> {
  const before = await askStatus({ path: socket });
  writeFileSync(file, text);
  told.refused++;
  const wrongly = (why: string) => told.complaints.push(`${what}: ${why}`);
  if (told.refused % size.byCommand === 0) {
    const command = Actor.start('reload', lab.director, '../cli/main', 'reload', '--config', file, '--socket', socket);
    const code = await command.ended;
    if (code !== 78) wrongly(`the command's exit code is ${code}: ${command.words}`);
    if (!/director\.yaml:\d+:\d+ /.test(command.words)) wrongly(`the command names no place: ${command.words}`);
    told.exitCodes++;
  } else {
    const { status, body } = await askAction(socket, '/-/reload');
    const { exitCode, problems } = body.refusal as Refusal;
    if (status !== 422 || exitCode !== 78) wrongly(`HTTP ${status}, exit code ${exitCode}`);
    const lines = text.split('\n').length;
    const placed = problems
      .filter((one) => one.severity === 'error')
      .every((one) => one.line >= 1 && one.line <= lines && one.column >= 1);
    if (problems.length === 0 || !placed) wrongly('a problem without a place');
  }
  const after = await askStatus({ path: socket });
  if (after.generation !== before.generation || after.reload.digest !== before.reload.digest) wrongly('what runs has changed');
  if (after.reload.result !== 'refused' || after.reload.problem === null) wrongly(`status says ${after.reload.result}`);
  if (after.reload.counts.refused !== before.reload.counts.refused + 1) wrongly('it was not counted');
  if ((await metrics(socket)).get('gue_director_config_last_reload_successful') !== 0)
    wrongly('the metric says that it was taken over');
}

function notMore(now: number, control: number, messages: number): boolean {
  return now <= Math.max(control * NOISE.ratio, control + messages * NOISE.perMessage, control + NOISE.least);
}

function figuresOf(passage: Passage): string {
  const {
    messages,
    staying,
    broken,
    others,
    wrong: bad,
    unanswered,
    late,
    longest,
    retransmissions,
    workersRetransmitted,
  } = passage;
  const { deviceDrops: device, kernelLost, uncounted, packets, drops, residentMiB, descriptors } = passage;
  const reasons = Object.values(broken).reduce((sum, count) => sum + count, 0);
  return [
    `${messages} messages; ${staying} transfers with workers that stay: ${reasons} broke, ${bad} with wrong bytes, ${unanswered} messages unanswered`,
    `${others} of other workers broke and were made anew; ${passage.renewed} short-lived ones besides`,
    `${late} answers later than 0.9 s, the longest after ${longest} ms; ${retransmissions} segments sent again by the client, ${workersRetransmitted} by the workers`,
    `devices dropped ${device}, the kernel before the director ${kernelLost}`,
    `the device gave ${packets.given} packets: received ${packets.received} = forwarded ${packets.forwarded} + replied ${packets.replied} + passed ${packets.passed} + dropped ${packets.dropped}, without a reason ${uncounted}; dropped: ${drops}`,
    `director ${residentMiB.join(' → ')} MiB, ${descriptors.join(' → ')} descriptors`,
  ].join('; ');
}

async function run(scale: Scale): Promise<Outcome> {
  const size = SIZES[scale];
  const random = new Random(20_261_123);
  const complaints: string[] = [];
  const lab = Lab.create({ workers: size.workers });
  const actors: Actor[] = [];
  try {
    patient(lab);
    for (const worker of lab.workers) {
      actors.push(
        Actor.start(worker.role, worker, '../cli/main', 'worker', '--fou', '6084=4', '--fou', '6086=41', '--ipip', '--gre'),
        Actor.command(worker.role, worker, 'python3', PROGRAM, 'server', worker.role, String(TRANSFER_PORT)),
      );
    }
    await Promise.all(actors.map((actor) => actor.says('ready', 60)));
    const wishes = new Wishes(lab, random, size.staying);
    const first = wishes.yaml();
    let reloaded: Reloaded | null = null;
    let took = 0;
    const tested = await passage(lab, size, first, async (file, socket) => {
      const start = performance.now();
      reloaded = await reloadAll(size, wishes, random, file, socket, lab);
      took = performance.now() - start;
    });
    // As long as the other took: on a busy machine reloads may come later than they were due.
    const control = await passage(lab, { ...size, seconds: Math.max(size.seconds, took / 1000) }, first, async () => {});
    const { done, refusedWrongly, refused, exitCodes, complaints: wrongly, milliseconds } = reloaded as unknown as Reloaded;
    complaints.push(...refusedWrongly, ...wrongly);
    if (done !== size.reloads || refused !== size.wrong) complaints.push(`${done} reloads, ${refused} wrong ones`);
    for (const [name, one] of [
      ['control', control],
      ['with reloads', tested],
    ] as const) {
      if (Object.keys(one.broken).length > 0) complaints.push(`${name}: broke: ${JSON.stringify(one.broken)}`);
      if (one.wrong > 0 || one.unanswered > 0) complaints.push(`${name}: ${one.wrong} wrong, ${one.unanswered} unanswered`);
      if (one.uncounted !== 0) complaints.push(`${name}: ${one.uncounted} packets without a reason`);
    }
    const { messages } = tested;
    for (const what of ['late', 'retransmissions', 'workersRetransmitted', 'deviceDrops', 'kernelLost'] as const) {
      if (!notMore(tested[what], control[what], messages))
        complaints.push(`${what}: ${tested[what]}, without reloads ${control[what]}`);
    }
    const sorted = milliseconds.sort((a, b) => a - b);
    const { weights, backends, services, tunnels } = wishes.tally;
    return {
      passed: complaints.length === 0,
      figures: {
        reloads: `${done} in ${Math.round(Math.max(size.seconds, took / 1000))} s: ${weights} changes of weights, ${backends} of backends in, out and of state, ${services} of services, ${tunnels} of tunnels`,
        'a reload took': `${Math.round(sorted[sorted.length >> 1])} ms in the median, ${Math.round(sorted.at(-1) ?? 0)} ms at most, until every thread read it`,
        'wrong reloads': `${refused} of ${Object.keys(MUTATIONS).length} kinds, each refused with a place, generation and digest as before, metric 0; ${exitCodes} of them by the command, exit code 78`,
        'without reloads': figuresOf(control),
        'with reloads': figuresOf(tested),
        'no more means': `at most ${NOISE.ratio} times the control's, or one in ${1 / NOISE.perMessage} messages more, or ${NOISE.least} more`,
        complaints: complaints.slice(0, 5).join(' | ') || 'none',
      },
    };
  } finally {
    for (const actor of actors) actor.child.kill('SIGKILL');
    lab.close();
  }
}

export const reloads: Line = {
  name: 'reloads',
  claim:
    'A thousand reloads (weights, backends and services in and out, tunnels) in ten minutes under 1,000 paced TCP transfers break none whose backend stays; late answers, retransmissions and device drops are no more than without, and every packet has a reason; 200 wrong ones in between are refused with a place and touch nothing.',
  twin: 'test/full/reloads.test.ts',
  run,
};
