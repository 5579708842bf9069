// An hour of everything at once, and what the director holds at its end: no more than after its first minutes.
//
//     client: paced transfers ──────────► router ──► director ──┬─► worker-1, worker-2 stay
//             datagrams, fragments, pings, short connections    ├─► worker-3: checked, and down for a third of the time
//                                                               └─► worker-4: in a file that is replaced, drained, back
//
// Meanwhile it is reloaded every minute, refuses a wrong file now and then, and is asked for its metrics and its status all the time. Memory and
// descriptors are read from /proc every few seconds. The last third is held against the first third after a warm-up, in which compilers and heaps find their
// size: what memory comes back to after each collection, and its highest points.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAction, askStatus } from '../../src/admin/client.ts';
import { Actor } from '../../src/demo/cast.ts';
import { METRICS } from '../../src/demo/configuration.ts';
import type { Namespace } from '../../src/demo/lab/namespace.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { type Footprint, footprint, type Holders, holders } from './footprint.ts';
import { figureOf, patient } from './lab-links.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { metrics } from './metrics.ts';
import { Random } from './random.ts';

interface Size {
  readonly seconds: number;
  readonly warmUp: number;
  readonly transfers: number;
  /** Datagrams and short connections a second. */
  readonly rate: number;
  /** Seconds between two: reloads, flaps, replacements of the watched file, drains, wrong reloads, scrapes, looks at /proc. */
  readonly every: Readonly<Record<'reload' | 'flap' | 'replace' | 'drain' | 'wrong' | 'scrape' | 'look', number>>;
  /** Part by which what memory comes back to may grow. */
  readonly noise: number;
  /** The same of its highest points, which depend on when V8 collects. */
  readonly peaks: number;
}

/** The twin: 400 times shorter, so that each thing still happens, and looser: a heap of seconds has not found its size. */
const SIZES: Readonly<Record<Scale, Size>> = {
  full: {
    seconds: 3600,
    warmUp: 600,
    transfers: 300,
    rate: 300,
    every: { reload: 60, flap: 30, replace: 30, drain: 300, wrong: 300, scrape: 5, look: 5 },
    noise: 0.03,
    peaks: 0.1,
  },
  scaled: {
    seconds: 9,
    warmUp: 3,
    transfers: 30,
    rate: 200,
    every: { reload: 1.5, flap: 3, replace: 2, drain: 4, wrong: 4, scrape: 0.5, look: 0.1 },
    noise: 0.25,
    peaks: 0.5,
  },
};
const TRANSFER_PORT = 7000;
const UDP_PORT = 5300;
const WEB_PORT = 80;
const FLAPPING = 2;
const FOUND = 3;

const program = (name: string) => join(import.meta.dirname, name);

class Configurations {
  readonly #lab: Lab;
  readonly #random: Random;
  readonly #folder: string;

  constructor(lab: Lab, random: Random, folder: string) {
    this.#lab = lab;
    this.#random = random;
    this.#folder = folder;
  }

  get file(): string {
    return join(this.#folder, 'director.yaml');
  }

  #write(name: string, text: string): void {
    const path = join(this.#folder, name);
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  }

  /** The configuration with other weights, checks and a service that comes and goes. */
  wish(): void {
    const { vip4, vip6, director, workers } = this.#lab;
    const random = this.#random;
    const backends = (family: 4 | 6) =>
      workers
        .slice(0, FOUND)
        .map(
          ({ role, address4, address6 }) =>
            `      - { name: ${role}, address: "${family === 4 ? address4 : address6}", weight: ${1 + random.below(4)} }\n`,
        )
        .join('');
    const pool = (family: 4 | 6) => `  over-${family}:
    table-size: 4093
    backends-from: [found-${family}.yaml]
    backends:
${backends(family)}    health:
      checks:
        - { type: http, port: ${WEB_PORT}, path: "/?${random.below(3)}" }
        - { type: icmp }
        - { type: tunnel, port: ${TRANSFER_PORT} }
      interval: 1
      timeout: 0.8
      rise: 2
      fall: 2
      damping: off
`;
    const extra = random.chance(2)
      ? `  - { name: extra, address: "${vip4}", protocol: udp, port: ${UDP_PORT + 1 + random.below(3)}, pool: over-4 }\n`
      : '';
    this.#write(
      'director.yaml',
      `services:
  - { name: paced-4, address: "${vip4}", protocol: tcp, port: ${TRANSFER_PORT}, pool: over-4 }
  - { name: paced-6, address: "${vip6}", protocol: tcp, port: ${TRANSFER_PORT}, pool: over-6 }
  - { name: echo-4, address: "${vip4}", protocol: udp, port: ${UDP_PORT}, pool: over-4 }
  - { name: echo-6, address: "${vip6}", protocol: udp, port: ${UDP_PORT}, pool: over-6 }
${extra}pools:
${pool(4)}${pool(6)}tunnel: { port: 6080, source: { ipv4: ${director.address4}, ipv6: "${director.address6}" } }
threads: 2
metrics: { listen: "${METRICS}" }
log: { level: info, format: json }
`,
    );
  }

  wrong(): void {
    this.#write('director.yaml', `services: []\npools: { a: ${this.#random.below(1000)} }\n`);
  }

  /** Worker-4, of another weight each time. */
  find(): void {
    const { role, address4, address6 } = this.#lab.workers[FOUND];
    for (const [family, address] of [
      [4, address4],
      [6, address6],
    ]) {
      this.#write(`found-${family}.yaml`, `- { name: ${role}, address: "${address}", weight: ${1 + this.#random.below(4)} }\n`);
    }
  }
}

/** What is done again and again; how often it was. A throw of one ends all. */
class Chores {
  readonly #ends: number;
  readonly #running: Promise<void>[] = [];
  readonly done: Record<string, number> = {};
  #failure: unknown = null;

  constructor(seconds: number) {
    this.#ends = performance.now() + seconds * 1000;
  }

  every(seconds: number, name: string, work: (turn: number) => void | Promise<void>): void {
    this.done[name] = 0;
    const loop = async () => {
      const began = performance.now();
      for (let turn = 0; this.#failure === null; turn++) {
        const due = began + (turn + 1) * seconds * 1000;
        if (due > this.#ends) return;
        while (this.#failure === null && performance.now() < due)
          await sleep(Math.min(1000, Math.max(1, due - performance.now())));
        await work(turn);
        this.done[name]++;
      }
    };
    this.#running.push(
      loop().catch((error) => {
        this.#failure ??= error;
      }),
    );
  }

  async all(): Promise<void> {
    await Promise.all(this.#running);
    if (this.#failure !== null) throw this.#failure;
  }
}

/** The worker's service and its tunnel port behind a firewall, or not. */
function shut(worker: Namespace, isShut: boolean): void {
  const rules = `table inet soak { chain in { type filter hook input priority 0; tcp dport ${WEB_PORT} drop; udp dport 6080 drop\n}\n}\n`;
  worker.run('nft', ['-f', '-'], isShut ? rules : 'delete table inet soak\n');
}

interface Look extends Footprint, Holders {
  /** Seconds since the traffic began. */
  readonly at: number;
}

/** What memory comes back to when V8 has collected, which the director makes it do every five minutes in which something changed (snapshot-garbage.ts). */
const floor = (values: readonly number[]) => Math.min(...values);

/** Both ends of the time after the warm-up, a third each. */
function thirds(looks: readonly Look[], size: Size): [readonly Look[], readonly Look[]] {
  const third = (size.seconds - size.warmUp) / 3;
  return [
    looks.filter(({ at }) => at >= size.warmUp && at < size.warmUp + third),
    looks.filter(({ at }) => at >= size.seconds - third),
  ];
}

function judge(looks: readonly Look[], size: Size): { complaints: string[]; figures: Record<string, string> } {
  const [early, late] = thirds(looks, size);
  const complaints: string[] = [];
  const figures: Record<string, string> = {};
  for (const what of ['resident', 'anonymous'] as const) {
    const [a, b] = [early, late].map((all) => floor(all.map((look) => look[what])));
    const [most, mostLate] = [early, late].map((all) => Math.max(...all.map((look) => look[what])));
    const [grown, higher] = [b / a - 1, mostLate / most - 1];
    figures[`${what} memory, MiB`] =
      `${a.toFixed(1)} to ${most.toFixed(1)} in the first third, ${b.toFixed(1)} to ${mostLate.toFixed(1)} in the last: ${(grown * 100).toFixed(1)} % and ${(higher * 100).toFixed(1)} %`;
    if (grown > size.noise) complaints.push(`${what} memory grew by ${(grown * 100).toFixed(1)} %`);
    if (higher > size.peaks) complaints.push(`${what} memory is ${(higher * 100).toFixed(1)} % more at its most`);
  }
  for (const what of ['malloc', 'rest'] as const) {
    const [a, b] = [early, late].map((all) => floor(all.map((look) => look[what])));
    figures[`of it ${what === 'malloc' ? "malloc's" : "V8's and others'"}, MiB`] =
      `at least ${a.toFixed(1)} in the first third, ${b.toFixed(1)} in the last`;
  }
  for (const what of ['descriptors', 'threads'] as const) {
    const [a, b] = [early, late].map((all) => all.map((look) => look[what]));
    figures[what] =
      `${Math.min(...a)} to ${Math.max(...a)} in the first third, ${Math.min(...b)} to ${Math.max(...b)} in the last`;
    // Those of checks and scrapes come and go: what never goes away is in the least.
    if (Math.min(...b) > Math.min(...a)) complaints.push(`${what}: at least ${Math.min(...a)}, later ${Math.min(...b)}`);
  }
  return { complaints, figures };
}

async function run(scale: Scale): Promise<Outcome> {
  const size = SIZES[scale];
  const random = new Random(20_261_123);
  const lab = Lab.create({ workers: 4 });
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-soak-'));
  const actors: Actor[] = [];
  let director: Actor | null = null;
  try {
    patient(lab);
    const start = (actor: Actor) => {
      actors.push(actor);
      return actor;
    };
    for (const worker of lab.workers) {
      start(Actor.start(worker.role, worker, '../cli/main', 'worker'));
      start(Actor.start(worker.role, worker, 'web-server', worker.role, String(WEB_PORT)));
      start(
        Actor.command(
          worker.role,
          worker,
          'python3',
          program('paced_transfers.py'),
          'server',
          worker.role,
          String(TRANSFER_PORT),
        ),
      );
      start(Actor.command(worker.role, worker, 'python3', program('soak_traffic.py'), 'server', String(UDP_PORT)));
    }
    await Promise.all(actors.map((actor) => actor.says('ready', 60)));
    const configurations = new Configurations(lab, random, folder);
    configurations.find();
    configurations.wish();
    const running = Actor.start('the director', lab.director, '../cli/main', 'run', '--config', configurations.file);
    director = running;
    await running.says('"event":"ready"', 30);
    const socket = join(lab.director.runtimeDirectory, 'admin.sock');
    const pid = running.child.pid as number;

    const stay = lab.workers.slice(0, FLAPPING).map(({ role }) => role);
    const services = [lab.vip4, lab.vip6].flatMap((address) => [address, String(TRANSFER_PORT)]);
    const paced = [String(size.transfers), '2048', '1', lab.vip4, String(UDP_PORT + 1), ...stay, '--', ...services];
    const transfers = start(Actor.command('transfers', lab.client, 'python3', program('paced_transfers.py'), 'client', ...paced));
    const mixed = [String(size.rate), String(TRANSFER_PORT), String(UDP_PORT), lab.vip4, lab.vip6];
    const traffic = start(Actor.command('traffic', lab.client, 'python3', program('soak_traffic.py'), 'client', ...mixed));
    const ping = start(Actor.command('ping', lab.client, 'ping', '-i', '0.2', '-s', '1000', lab.vip4));
    await Promise.all([transfers.says('ready', 60), traffic.says('ready', 60)]);
    transfers.child.stdin!.write('go\n');

    const began = performance.now();
    const looks: Look[] = [];
    const chores = new Chores(size.seconds);
    let isShut = false;
    let isDrained = false;
    let writing: Promise<unknown> = Promise.resolve();
    /** One at a time: the file, and what is made of it. */
    const alone = (work: () => Promise<void>): Promise<void> => {
      const after = writing.then(work);
      writing = after.catch(() => {});
      return after;
    };
    const reload = async (wanted: number) => {
      const { status, body } = await askAction(socket, '/-/reload', {}, 30_000);
      if (status !== wanted) throw new Error(`a reload: HTTP ${status}, not ${wanted}: ${JSON.stringify(body)}`);
    };
    chores.every(size.every.look, 'looks at /proc', () => {
      looks.push({ at: (performance.now() - began) / 1000, ...footprint(pid), ...holders(pid) });
    });
    chores.every(size.every.reload, 'reloads', () =>
      alone(async () => {
        configurations.wish();
        await reload(200);
      }),
    );
    chores.every(size.every.wrong, 'wrong reloads refused', () =>
      alone(async () => {
        configurations.wrong();
        await reload(422);
      }),
    );
    chores.every(size.every.flap, 'times worker-3 was shut or opened', () => {
      isShut = !isShut;
      shut(lab.workers[FLAPPING], isShut);
    });
    chores.every(size.every.replace, 'replacements of the watched files', () => configurations.find());
    chores.every(size.every.drain, 'drains begun or ended', async () => {
      isDrained = !isDrained;
      for (const pool of ['over-4', 'over-6']) {
        const backend = `${pool}/${lab.workers[FOUND].role}`;
        const { status, body } = await askAction(socket, '/-/drain', { backend, cancel: !isDrained });
        if (status !== 200) throw new Error(`a drain: HTTP ${status}: ${JSON.stringify(body)}`);
      }
    });
    let counters = new Map<string, number>();
    chores.every(size.every.scrape, 'scrapes', async () => {
      counters = await metrics(socket);
      await askStatus({ path: socket });
    });
    if (scale === 'full') {
      chores.every(60, 'minutes told', () => {
        const last = looks.at(-1) as Look;
        console.log(
          `  ${Math.round(last.at)} s: ${last.resident.toFixed(1)} MiB, anonymous ${last.anonymous.toFixed(1)}, heap ${((counters.get('nodejs_heap_size_used_bytes') ?? 0) / 2 ** 20).toFixed(1)}, ${last.descriptors} descriptors, ${counters.get('gue_director_flow_table_refused_total') ?? '?'} flows refused`,
        );
      });
    }
    await Promise.race([chores.all(), running.fails(size.seconds + 120)]);

    ping.child.kill('SIGINT');
    transfers.child.stdin!.end('stop\n');
    traffic.child.stdin!.end('stop\n');
    const told = JSON.parse((await transfers.lines(2, 60))[1]) as {
      messages: number;
      broken: Record<string, number>;
      wrong: number;
      unanswered: number;
      others: number;
    };
    const mixedTold = JSON.parse((await traffic.lines(2, 60))[1]) as Record<string, number>;
    await ping.ended;
    if (isShut) shut(lab.workers[FLAPPING], false);
    await sleep(500);
    const status = await askStatus({ path: socket });
    const { received, forwarded, replied, passed, dropped } = status.packets;
    const given = figureOf(lab.director, 'gd0', 'tx_packets');
    const uncounted = given - received + (received - forwarded - replied - passed - dropped);
    const { complaints, figures } = judge(looks, size);
    if (Object.keys(told.broken).length > 0) {
      complaints.push(`transfers broke: ${JSON.stringify(told.broken)}`);
      console.log(`${transfers.words}\n${running.words}`);
    }
    if (told.wrong > 0 || told.unanswered > 0) complaints.push(`${told.wrong} wrong, ${told.unanswered} unanswered`);
    if (uncounted !== 0) complaints.push(`${uncounted} packets without a reason`);
    for (const [name, times] of Object.entries(chores.done)) if (times === 0) complaints.push(`no ${name}`);
    if (mixedTold['answered connections'] < mixedTold.connections / 2 || mixedTold.answered < mixedTold.datagrams / 2)
      complaints.push('less than half was answered');
    const flaps = [...counters]
      .filter(([name]) => name.startsWith('gue_director_health_changes_total'))
      .reduce((sum, [, count]) => sum + count, 0);
    const [evictions, refused] = ['evictions', 'refused'].map(
      (what) => counters.get(`gue_director_flow_table_${what}_total`) ?? -1,
    );
    if (evictions < 0 || refused < 0) complaints.push('the flow table does not say whether it was large enough');
    if (flaps === 0) complaints.push('no health check found anything');
    return {
      passed: complaints.length === 0,
      figures: {
        ...figures,
        'may grow by': `${size.noise * 100} %, at its most ${size.peaks * 100} %, after a warm-up of ${size.warmUp} of ${size.seconds} s`,
        done: Object.entries(chores.done)
          .map(([name, times]) => `${times} ${name}`)
          .join(', '),
        'changes of health': flaps,
        'flow table': `living entries that gave way ${evictions}, packets of flows that got no entry ${refused}`,
        transfers: `${size.transfers}: ${told.messages} messages, with workers that stay broke ${Object.keys(told.broken).length}; ${told.others} of the others made anew`,
        traffic: Object.entries(mixedTold)
          .map(([name, count]) => `${name} ${count}`)
          .join(', '),
        packets: `the device gave ${given}: received ${received} = forwarded ${forwarded} + replied ${replied} + passed ${passed} + dropped ${dropped}, without a reason ${uncounted}`,
        drops:
          Object.entries(status.drops)
            .map(([reason, count]) => `${reason} ${count}`)
            .join(', ') || 'none',
        complaints: complaints.join(' | ') || 'none',
      },
    };
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${director?.words.slice(-3000) ?? ''}`, { cause: error });
  } finally {
    await director?.stop();
    for (const actor of actors) actor.child.kill('SIGKILL');
    lab.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

export const soak: Line = {
  name: 'soak',
  claim:
    'In an hour of mixed traffic, reloaded every minute, with a worker that goes down and comes back every minute, watched files, drains, wrong files and scrapes, resident memory and descriptors stay flat, no transfer with a worker that stays breaks, and every packet has a reason.',
  twin: 'test/full/soak.test.ts',
  run,
};
