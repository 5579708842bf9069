// Floods of packets that each are of another flow, under transfers that must not notice; with the table as it is, and with a backend added in the
// middle. Then the same transfers under other numbers of threads and other tables.
//
//     client: transfers ──────────────────► router ──► director ──► worker-1 … worker-3, worker-4 added
//             flood from 100.64.0.0/10 ───►                           └─ flood: a sample of it noted, all of it counted by a rule, and gone
//
// A transfer has moved when another worker's kernel resets it, or another name answers. A sampled flow of the flood gets a second packet, and has moved
// when that comes to another worker than the first.

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAction, askStatus } from '../../src/admin/client.ts';
import { Actor } from '../../src/demo/cast.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { KINDS, type Kind, MARKS, Moves, type Seen } from './flood-moves.ts';
import type { Line, Outcome, Scale } from './line.ts';

interface Size {
  /** Workers, the one that is added included. */
  readonly workers: number;
  readonly transfers: number;
  /** Seconds between two messages of one transfer. */
  readonly period: number;
  /** Flows of each flood. */
  readonly flows: number;
  /** Packets a second, all floods that run together. */
  readonly rate: number;
  /** `flows.entries`: half of the flows of one flood. */
  readonly entries: number;
  /** Of 2^bits source addresses of the flood one is looked at. */
  readonly sampleBits: number;
  readonly threads: number;
  /** Milliseconds of the flood between its middle and the change, so that what was sent before has been steered before. */
  readonly settleMs: number;
  /** Seconds after the change at which flows are looked at a second time, when UDP flows have lost the table before; 0: not at all. */
  readonly late: number;
}

/** The twin: a 400th of the flows in a 512th of the table, and nothing is looked at after a minute. */
const SIZES: Readonly<Record<Scale, Size>> = {
  full: {
    workers: 4,
    transfers: 1000,
    period: 1,
    flows: 2_000_000,
    rate: 40_000,
    entries: 1 << 20,
    sampleBits: 8,
    threads: 2,
    settleMs: 1000,
    late: 65,
  },
  scaled: {
    workers: 3,
    transfers: 50,
    period: 0.2,
    flows: 5_000,
    rate: 20_000,
    entries: 1 << 11,
    sampleBits: 4,
    threads: 1,
    settleMs: 100,
    late: 0,
  },
};

const PORT = 80;
const TUNNEL_PORT = 6080;
const FLOODS = join(import.meta.dirname, 'floods.py');
const FLOWS = join(import.meta.dirname, 'flows.py');
/** Bytes that a director may grow under floods besides the flow table's own: the heap's young generation, queues that fill. */
const GROWTH = 32 << 20;
/** Not of the flood, nor of the transfers: what neighbours ask on a link. */
const STRANGERS = ['not-a-service', 'not-ip', 'wrong-host'];

interface Wish {
  readonly workers: number;
  readonly threads: number;
  /** Weights other than 1, by worker. */
  readonly weights?: Readonly<Record<string, number>>;
}

function configuration(lab: Lab, entries: number, { workers, threads, weights = {} }: Wish): string {
  const backends = lab.workers
    .slice(0, workers)
    .map(({ role, address4 }) => `{ name: ${role}, address: "${address4}", weight: ${weights[role] ?? 1} }`);
  return [
    'services:',
    ...['tcp', 'udp'].map((one) => `  - { name: ${one}, address: "${lab.vip4}", protocol: ${one}, port: ${PORT}, pool: web }`),
    `pools: { web: { backends: [${backends.join(', ')}] } }`,
    `tunnel: { port: ${TUNNEL_PORT}, source: { ipv4: "${lab.director.address4}" } }`,
    'ingress: { driver: tun, device: gd0 }',
    'egress: { driver: raw }',
    `threads: ${threads}`,
    `flows: { entries: ${entries} }`,
    'metrics: { listen: off }',
    '',
  ].join('\n');
}

interface Told {
  readonly alive: number;
  readonly answered: number;
  readonly messages: number;
  readonly longest: number;
  readonly ended: Readonly<Record<string, number>>;
  readonly workers: readonly string[];
}

interface Flooded {
  readonly sent: number;
  readonly all: number;
  readonly seconds: number;
  /** Of each kind, packets that were sent after the change. */
  readonly after: number | null;
}

/** A program that is told a line and answers by a line. */
class Asked {
  readonly actor: Actor;
  #lines = 0;

  constructor(actor: Actor) {
    this.actor = actor;
  }

  tell(line: string): void {
    this.actor.child.stdin!.write(`${line}\n`);
  }

  async next(seconds: number): Promise<string> {
    return (await this.actor.lines(++this.#lines, seconds)).at(-1) as string;
  }
}

class Stage {
  readonly lab: Lab;
  readonly size: Size;
  readonly figures: Record<string, number | string> = {};
  readonly complaints: string[] = [];
  readonly socket: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'gue-director-floods-'));
  readonly #actors: Actor[] = [];
  readonly #watchers: Asked[] = [];
  #director: Actor | null = null;
  #flood!: Asked;
  #transfers!: Asked;
  /** Bytes resident, the least and the most since just before the first flood: what the start left is collected under it. */
  #resident = { least: 0, most: 0 };
  #lostBefore = 0;

  constructor(size: Size) {
    this.size = size;
    this.lab = Lab.create({ workers: size.workers });
    this.socket = join(this.lab.director.runtimeDirectory, 'admin.sock');
  }

  async #start(actor: Actor, word = 'ready'): Promise<Actor> {
    this.#actors.push(actor);
    await actor.says(word, 60);
    return actor;
  }

  async open(wish: Wish): Promise<void> {
    const { lab, size } = this;
    const python = async (name: string, namespace: typeof lab.client, ...args: (string | number)[]) =>
      new Asked(await this.#start(Actor.command(name, namespace, 'python3', ...args.map(String))));
    await Promise.all(
      lab.workers.flatMap((worker) => {
        // Behind the tap, before anybody unwraps it. The inner source address stands 16 bytes behind the GUE header's 4.
        const rule = `udp dport ${TUNNEL_PORT} @th,192,10 401 counter drop`;
        worker.run(
          'nft',
          ['-f', '-'],
          `table inet flood {\nchain in { type filter hook prerouting priority -300; ${rule}\n}\n}\n`,
        );
        return [
          this.#start(Actor.start(worker.role, worker, '../cli/main', 'worker')),
          python(worker.role, worker, FLOWS, 'server', worker.role, PORT),
          python(`tap of ${worker.role}`, worker, FLOODS, 'watch', TUNNEL_PORT, size.sampleBits).then((tap) => {
            this.#watchers.push(tap);
          }),
        ];
      }),
    );
    await this.direct(wish);
    const mac = lab.router.run('cat', ['/sys/class/net/out0/address']).trim();
    this.#flood = await python('flood', lab.client, FLOODS, 'flood', mac, lab.vip4, PORT, size.sampleBits);
    this.#transfers = await python('transfers', lab.client, FLOODS, 'transfers', lab.vip4, PORT, size.transfers, size.period);
    for (const asked of [this.#flood, this.#transfers, ...this.#watchers]) await asked.next(1);
  }

  #write(wish: Wish): string {
    const file = join(this.#folder, 'director.yaml');
    writeFileSync(file, configuration(this.lab, this.size.entries, wish));
    return file;
  }

  /** A director with this configuration, instead of the one there is. */
  async direct(wish: Wish): Promise<void> {
    if (this.#director !== null) {
      const code = await this.#director.stop();
      if (code !== 0) this.complaints.push(`a director ended with ${code}`);
    }
    const file = this.#write(wish);
    this.#director = await this.#start(
      Actor.start('director', this.lab.director, '../cli/main', 'run', '--config', file),
      '"event":"ready"',
    );
  }

  get directorWords(): string {
    return this.#director?.words ?? '';
  }

  async reload(wish: Wish): Promise<void> {
    this.#write(wish);
    const { status, body } = await askAction(this.socket, '/-/reload');
    if (status !== 200) throw new Error(`the reload was refused: ${JSON.stringify(body)}`);
  }

  async #tell(line: 'mark' | 'tell'): Promise<Told> {
    this.#transfers.tell(line);
    return JSON.parse(await this.#transfers.next(30)) as Told;
  }

  async mark(): Promise<void> {
    await this.#tell('mark');
  }

  /** Every transfer has had an answer since `mark`, or is lost. */
  async transfers(about: string): Promise<void> {
    const deadline = performance.now() + 30_000;
    let told = await this.#tell('tell');
    while (told.answered < told.alive && performance.now() < deadline) {
      await sleep(200);
      told = await this.#tell('tell');
    }
    const moved = this.size.transfers - told.alive;
    const why = Object.entries(told.ended).map(([reason, count]) => `${reason}: ${count}`);
    this.figures[`${about}: transfers moved or broken`] =
      `${moved} of ${this.size.transfers}, ${told.messages} messages answered, the longest after ${told.longest.toFixed(2)} s`;
    if (moved > 0) this.complaints.push(`${about}: ${moved} transfers: ${why.slice(0, 5).join(', ')}`);
    if (told.answered < told.alive) this.complaints.push(`${about}: ${told.alive - told.answered} transfers without an answer`);
    if (told.workers.length < 2) this.complaints.push(`${about}: all transfers go to ${told.workers.join()}`);
  }

  /** Packets of the flood that came to the workers, and those that the director or the kernel in front of it counted as dropped. */
  async #counted(): Promise<{ arrived: number; dropped: number; lost: number; drops: string }> {
    const arrived = this.lab.workers.reduce(
      (sum, worker) => sum + Number(/counter packets (\d+)/.exec(worker.run('nft', ['list', 'table', 'inet', 'flood']))?.[1]),
      0,
    );
    const { packets, drops } = await askStatus({ path: this.socket });
    const reasons = Object.entries(drops).filter(([reason]) => !STRANGERS.includes(reason));
    const dropped = reasons.reduce((sum, [, count]) => sum + count, 0);
    return {
      arrived,
      dropped,
      lost: packets.lost,
      drops: reasons.map(([reason, count]) => `${reason} ${count}`).join(', ') || 'none',
    };
  }

  /** Bytes, of the process and of the flow table's file. */
  memory(): { resident: number; table: number } {
    const status = readFileSync(`/proc/${this.#director?.child.pid}/status`, 'utf8');
    const table = statSync(join(this.lab.director.runtimeDirectory, 'flows')).size;
    return { resident: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024, table };
  }

  async measure(): Promise<void> {
    const { resident, table } = this.memory();
    this.#resident = { least: resident, most: resident };
    this.#lostBefore = (await this.#counted()).lost;
    this.figures['flow table file'] = `${mebibytes(table)} MiB, ${this.size.entries} entries`;
    this.figures['resident before the floods'] = `${mebibytes(resident)} MiB`;
  }

  /** One flood of several kinds at once; `inTheMiddle` is done when half of it is out. */
  async flood(about: string, stage: number, kinds: readonly Kind[], inTheMiddle?: () => Promise<void>): Promise<Flooded> {
    const { size } = this;
    const patience = inTheMiddle === undefined ? 0 : size.late;
    const seconds = (size.flows * kinds.length) / size.rate;
    await this.mark();
    this.#flood.tell(
      `run ${stage} ${kinds.join(',')} ${size.flows} ${size.rate} ${inTheMiddle === undefined ? 0 : 1} ${patience}`,
    );
    if (inTheMiddle !== undefined) {
      await this.#flood.next(seconds * 3 + 20);
      await sleep(size.settleMs);
      await inTheMiddle();
      this.#flood.tell('changed');
    }
    const flooded = JSON.parse(await this.#flood.next(seconds * 3 + 40 + patience)) as Flooded;
    if (inTheMiddle !== undefined && flooded.after === null)
      this.complaints.push(`${about}: the flood was over before the change`);
    await this.transfers(about);
    await this.#account(about, flooded, kinds.length);
    const { resident, table } = this.memory();
    const least = Math.min(this.#resident.least, resident);
    this.#resident = { least, most: Math.max(this.#resident.most, resident) };
    const grown = resident - least;
    this.figures[`${about}: resident`] = `${mebibytes(resident)} MiB`;
    if (grown > table + GROWTH) this.complaints.push(`${about}: the director has grown by ${mebibytes(grown)} MiB`);
    return flooded;
  }

  async #account(about: string, { sent, all, seconds }: Flooded, kinds: number): Promise<void> {
    const deadline = performance.now() + 5000;
    let now = await this.#counted();
    while (now.arrived + now.dropped + now.lost - this.#lostBefore < all && performance.now() < deadline) {
      await sleep(100);
      now = await this.#counted();
    }
    const lost = now.lost - this.#lostBefore;
    // Fewer than none: of what the device dropped some was of the transfers.
    const missing = Math.max(0, all - now.arrived - now.dropped - lost);
    this.figures[`${about}: sent`] =
      `${sent} packets in ${seconds.toFixed(1)} s, ${Math.round(sent / seconds)} a second; since the beginning ${all} sent, ${now.arrived} came to workers, dropped by the device ${lost}, by the director ${now.dropped} (${now.drops}), nowhere ${missing}`;
    if (missing > 0) this.complaints.push(`${about}: ${missing} packets are nowhere`);
    if (sent < this.size.flows * kinds * 0.99) this.complaints.push(`${about}: only ${sent} packets could be sent`);
  }

  /** What the taps saw, once there is nothing more to see. */
  async moves(): Promise<Moves> {
    const moves = new Moves();
    for (const [number, tap] of this.#watchers.entries()) {
      tap.actor.child.stdin!.end();
      const { seen, missed } = JSON.parse(await tap.next(60)) as { seen: Seen[]; missed: number };
      if (missed > 0) this.complaints.push(`a tap has missed ${missed} packets`);
      moves.add(number, seen);
    }
    return moves;
  }

  finish(): Outcome {
    const { least, most } = this.#resident;
    this.figures['resident, least and most'] =
      `${mebibytes(least)} and ${mebibytes(most)} MiB; growth allowed: the flow table file and ${mebibytes(GROWTH)} MiB`;
    this.figures.complaints = this.complaints.join('; ') || 'none';
    return { passed: this.complaints.length === 0, figures: this.figures };
  }

  words(): string {
    return this.#actors.map(({ name, words }) => `${name}: ${words.slice(-1000)}`).join('\n');
  }

  async close(): Promise<void> {
    try {
      await this.#director?.stop();
    } finally {
      for (const { child } of this.#actors) child.kill('SIGKILL');
      this.lab.close();
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }
}

const mebibytes = (bytes: number): string => (bytes / (1 << 20)).toFixed(1);

/** With the table unchanged, stages 0 to 2; with a backend more in the middle, stage 3. */
async function floodAll(stage: Stage, wish: Wish): Promise<void> {
  const { size } = stage;
  await stage.measure();
  for (const [number, kind] of KINDS.entries()) await stage.flood(`${kind} flood`, number, [kind]);
  const more = { ...wish, workers: size.workers };
  await stage.flood('all three, a backend added in the middle', KINDS.length, KINDS, () => stage.reload(more));
}

/** What became of the flood's own flows. */
async function shares(stage: Stage): Promise<void> {
  const moves = await stage.moves();
  for (const { kind, mark, looked, moved } of moves.tally()) {
    const { about, stays } = MARKS[mark];
    const isPromised = stays.includes(kind);
    stage.figures[`flows of the ${kind} flood, ${about}: moved`] =
      `${moved} of ${looked}, ${((100 * moved) / looked).toFixed(1)} %${isPromised ? '; none is promised' : ''}`;
    if (isPromised && moved > 0) stage.complaints.push(`${kind}, ${about}: ${moved} of ${looked} moved`);
  }
  const isLate = stage.size.late > 0;
  for (const [mark, { about, isLate: afterAMinute }] of Object.entries(MARKS)) {
    if (afterAMinute && !isLate) continue;
    for (const kind of KINDS) {
      const found = moves.tally().find((one) => one.kind === kind && one.mark === Number(mark));
      if ((found?.looked ?? 0) < 20) stage.complaints.push(`${kind}, ${about}: only ${found?.looked ?? 0} flows were looked at`);
    }
  }
}

/** Other threads and another table at the same time, by a clean stop and a start. */
async function changeThreads(stage: Stage): Promise<void> {
  const { workers, threads } = stage.size;
  const steps: readonly [string, Wish][] = [
    ...(threads === 1 ? [] : [[`${threads} threads → 1`, { workers, threads: 1 }] as [string, Wish]]),
    ['1 thread → 4, weights changed', { workers, threads: 4, weights: { 'worker-1': 3 } }],
    ['4 threads → 2, weights changed', { workers, threads: 2, weights: { 'worker-2': 3 } }],
  ];
  for (const [about, wish] of steps) {
    await stage.direct(wish);
    await stage.mark();
    await stage.transfers(about);
    const running = (await askStatus({ path: stage.socket })).threads.length;
    if (running !== wish.threads) stage.complaints.push(`${about}: there are ${running} threads`);
    if (!stage.directorWords.includes('was picked up')) stage.complaints.push(`${about}: the flow table was not picked up`);
  }
}

async function run(scale: Scale): Promise<Outcome> {
  const size = SIZES[scale];
  const stage = new Stage(size);
  try {
    const wish = { workers: size.workers - 1, threads: size.threads };
    await stage.open(wish);
    await floodAll(stage, wish);
    await shares(stage);
    await changeThreads(stage);
    return stage.finish();
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${stage.words()}`, { cause: error });
  } finally {
    await stage.close();
  }
}

export const floods: Line = {
  name: 'floods',
  claim:
    'Floods of SYN, of ACK and of UDP, two million flows each, move none of 1,000 transfers, neither with the table unchanged nor with a backend added in the middle; the share of the flooded flows that move is told, and memory stays within the flow table file and 32 MiB. Threads changed 1 → 4 → 2 with a change of the table: none moves.',
  twin: 'test/full/floods.test.ts',
  run,
};
