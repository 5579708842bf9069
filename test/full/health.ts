// Health checks against a real Linux kernel as worker (User-Mode Linux): every fault is found by the checks that can see it, in time, and traffic moves
// with only that worker's slots changing. The matrix of faults and checks is measured: seconds from the fault to "down".
//
//     director ──GUE──► uml-31      User-Mode Linux: fou, tunl0, VIP on lo; its faults are made by orders to its own address
//                  ├──► worker-1    namespaces with `gue-director worker`
//                  └──► worker-2
//
// Each kind of check has a pool of its own over the same three workers, and a service.

import { resolve } from 'node:path';
import { loadText } from '../../src/config/load.ts';
import { Lab, VIP4 } from '../../src/demo/lab/topology.ts';
import { buildPoolTable, digestOf } from '../../src/pipeline/pool-table.ts';
import type { PoolSpec } from '../../src/pipeline/spec.ts';
import { built, RunningDirector, runIn } from '../uml/director.ts';
import { Guest } from '../uml/guest.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Program } from './program.ts';

const CHECKS = {
  tcp: '{ type: tcp, port: 80 }',
  http: '{ type: http, port: 80 }',
  icmp: '{ type: icmp }',
  tunnel: '{ type: tunnel, port: 81 }',
  'tunnel-http': '{ type: tunnel, port: 80, http: { path: / } }',
} as const;
type Kind = keyof typeof CHECKS;
const KINDS = Object.keys(CHECKS) as Kind[];
/** Ports of the services. */
const PORTS: Readonly<Record<Kind, number>> = { tcp: 83, http: 82, icmp: 84, tunnel: 81, 'tunnel-http': 80 };

interface Order {
  readonly service?: 'open' | 'shut';
  readonly delay?: number;
  readonly shell?: string;
}

interface Fault {
  readonly make: Order | 'unplug';
  readonly mend: Order | 'plug';
  /** Which checks must find it; the others must not. */
  readonly found: readonly Kind[];
}

const TUNNEL: readonly Kind[] = ['tunnel', 'tunnel-http'];
const FAULTS: Readonly<Record<string, Fault>> = {
  'service down': { make: { service: 'shut' }, mend: { service: 'open' }, found: TUNNEL },
  'decapsulation port closed': {
    make: { shell: 'ip fou del port 6080 gue' },
    mend: { shell: 'ip fou add port 6080 gue' },
    found: TUNNEL,
  },
  'VIP missing': {
    make: { shell: `ip addr del ${VIP4}/32 dev lo` },
    mend: { shell: `ip addr add ${VIP4}/32 dev lo` },
    found: TUNNEL,
  },
  'rp_filter strict': {
    make: { shell: 'echo 1 > /proc/sys/net/ipv4/conf/tunl0/rp_filter' },
    mend: { shell: 'echo 0 > /proc/sys/net/ipv4/conf/tunl0/rp_filter' },
    found: TUNNEL,
  },
  'host gone': { make: 'unplug', mend: 'plug', found: KINDS },
  'slow answers': { make: { delay: 5000 }, mend: { delay: 0 }, found: ['http', 'tunnel-http'] },
};

interface Size {
  readonly faults: readonly string[];
  readonly flapping: boolean;
  /** Seconds, seconds, runs. */
  readonly interval: number;
  readonly timeout: number;
  readonly fall: number;
}

/** The scaled twin has three of the four faults that only `tunnel` finds, with a quarter of the interval and two bad runs in place of three. */
const SIZES: Readonly<Record<Scale, Size>> = {
  full: { faults: Object.keys(FAULTS), flapping: true, interval: 2, timeout: 1, fall: 3 },
  scaled: {
    faults: ['service down', 'decapsulation port closed', 'rp_filter strict'],
    flapping: false,
    interval: 0.5,
    timeout: 0.45,
    fall: 2,
  },
};
const FLAPPING = { interval: 0.5, timeout: 0.45, fall: 2 };
/** Milliseconds of one half of a flap: long enough to be found, and to be good again. */
const FLAP = { shut: 2000, open: 1500 };
const FLAPS = 8;
/** Seconds by which the director's timers and its log may be late on a machine that does other things too. */
const SLACK = 1;
/** Seconds until everything must be good again, and until the guest must be up. */
const MEND_PATIENCE = 30;
const BOOT_PATIENCE = 60;
const FETCHES = 30;
const UML = 'uml-31';
const METRICS = 'http://127.0.0.1:6079/metrics';

type Times = Pick<Size, 'interval' | 'timeout' | 'fall'>;
type Worker = { readonly name: string; readonly address: string };

function configuration(source: string, workers: readonly Worker[], times: Times, damping: string): string {
  const backends = workers.map(({ name, address }) => `{ name: ${name}, address: ${address} }`).join(', ');
  return [
    'services:',
    ...KINDS.map((kind) => `  - { name: ${kind}, address: ${VIP4}, protocol: tcp, port: ${PORTS[kind]}, pool: ${kind} }`),
    'pools:',
    ...KINDS.flatMap((kind) => [
      `  ${kind}:`,
      '    table-size: 2039',
      `    backends: [${backends}]`,
      '    health:',
      `      checks: [${CHECKS[kind]}]`,
      `      interval: ${times.interval}`,
      `      timeout: ${times.timeout}`,
      `      fall: ${times.fall}`,
      '      rise: 1',
      `      damping: ${damping}`,
      // What each check finds by itself is measured, not what ICMP hurries.
      '      port-unreachable: ignore',
    ]),
    `tunnel: { port: 6080, source: { ipv4: ${source} } }`,
    'ingress: { driver: tun, device: gd0 }',
    'egress: { driver: raw }',
    'flows: { entries: 4096 }',
    'log: { format: json }',
    '',
  ].join('\n');
}

const withDown = (pool: PoolSpec): PoolSpec => ({
  ...pool,
  backends: pool.backends.map((one) => (one.name === UML ? { ...one, state: 'down' as const } : one)),
});

/** Slots that change when the worker is down: its own, and others'. */
function changes(pool: PoolSpec): { own: number; others: number; size: number } {
  const namesOf = (spec: PoolSpec) => {
    const { slots, backends } = buildPoolTable(spec);
    return Array.from(slots, (slot) => backends[slot].name);
  };
  const [before, after] = [namesOf(pool), namesOf(withDown(pool))];
  const changed = before.filter((name, i) => name !== after[i]);
  const own = changed.filter((name) => name === UML).length;
  return { own, others: changed.length - own, size: before.length };
}

interface HealthLine {
  readonly event: 'health-up' | 'health-down' | 'health-held';
  readonly at: number;
  readonly pool: string;
  readonly detail: string;
}

/** What the director's journal says about the worker, oldest first. */
function journal(director: RunningDirector): HealthLine[] {
  return director.log.split('\n').flatMap((line): HealthLine[] => {
    if (!line.includes('"health-')) return [];
    try {
      const { event, time, pool, backend, detail = '' } = JSON.parse(line);
      if (backend !== UML || !/^health-(up|down|held)$/.test(event)) return [];
      return [{ event, at: Date.parse(time), pool, detail }];
    } catch {
      // The last line has not all arrived.
      return [];
    }
  });
}

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

async function until(condition: () => boolean, seconds: number, what: string): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(what);
    await sleep(25);
  }
}

/** Has an order carried out; returns when that was done, in milliseconds since 1970. */
async function order(lab: Lab, worker: Worker, what: Order): Promise<number> {
  const script = `
    fetch('http://${worker.address}:9000/', { method: 'POST', body: process.argv[1] })
      .then((response) => response.text())
      .then((text) => {
        if (text.startsWith('failed')) throw new Error(text);
        console.log(Date.now());
      })`;
  return Number(await runIn(lab.router, process.execPath, ['-e', script, JSON.stringify(what)]));
}

/** Who answers new connections to the service of a check. */
async function served(lab: Lab, kind: Kind): Promise<string[]> {
  const script = `
    const { get } = require('node:http');
    const one = () => new Promise((done) => {
      const request = get({ host: '${VIP4}', port: ${PORTS[kind]}, agent: false, timeout: 5000 }, (response) => {
        let text = '';
        response.on('data', (piece) => { text += piece; }).on('end', () => done(text.trim()));
      });
      request.on('timeout', () => request.destroy(new Error('silence'))).on('error', (error) => done(error.message));
    });
    (async () => {
      for (let i = 0; i < ${FETCHES}; i++) console.log(await one());
    })();`;
  return (await runIn(lab.client, process.execPath, ['-e', script])).trim().split('\n');
}

interface Scene {
  readonly lab: Lab;
  readonly guest: Guest;
  readonly workers: readonly Worker[];
  readonly figures: Record<string, string | number>;
  readonly complaints: string[];
}

/** One fault, by every check: what the matrix's row says. */
async function suffer(
  scene: Scene,
  director: RunningDirector,
  pools: readonly PoolSpec[],
  name: string,
  times: Times,
): Promise<void> {
  const { lab, guest, workers, figures, complaints } = scene;
  const { make, mend, found } = FAULTS[name];
  const limit = times.fall * times.interval + times.timeout;
  const before = journal(director).length;
  let at = Date.now();
  if (make === 'unplug') lab.router.ip(`link set ${guest.device} down`);
  else if (typeof make === 'object') at = await order(lab, workers[0], make);
  const news = () => journal(director).slice(before);
  const isDown = (kind: Kind) => news().some((line) => line.event === 'health-down' && line.pool === kind);
  // As long as the slowest may take, also where nothing is to be found: what is green has then been looked at as often.
  await until(() => found.every(isDown), limit + 5, `${name}: not found by ${found.filter((kind) => !isDown(kind))}`).catch(
    (error: Error) => complaints.push(error.message),
  );
  await sleep(Math.max(0, at + limit * 1000 - Date.now()));
  const cells = KINDS.map((kind) => {
    const line = news().find(({ event, pool }) => event === 'health-down' && pool === kind);
    if (line === undefined) return `${kind} green`;
    const seconds = Math.max(0, (line.at - at) / 1000);
    if (!found.includes(kind)) complaints.push(`${name}: ${kind} says ${line.detail}`);
    if (seconds > limit + SLACK) complaints.push(`${name}: ${kind} took ${seconds.toFixed(1)} s, at most ${limit}`);
    return `${kind} ${seconds.toFixed(1)} s`;
  });
  figures[`${name} (at most ${limit} s)`] = cells.join(' · ');
  const detail = news().find(({ event, pool }) => event === 'health-down' && pool === 'tunnel-http')?.detail ?? 'nothing';
  figures[`${name}: tunnel says`] = detail;

  const digests = await runIn(lab.director, process.execPath, [built('demo/fetch'), METRICS, '5']);
  for (const pool of pools) {
    const wanted = found.includes(pool.name as Kind) ? withDown(pool) : pool;
    const digest = digestOf(wanted, buildPoolTable(wanted));
    if (digests.includes(`{pool="${pool.name}",digest="${digest}"}`)) continue;
    complaints.push(
      `${name}: the table in force of pool ${pool.name} is not the one of three workers${wanted === pool ? '' : ' without this one'}`,
    );
  }
  const answers = await served(lab, 'tunnel-http');
  const strangers = answers.filter((answer) => answer !== workers[1].name && answer !== workers[2].name);
  if (strangers.length > 0) complaints.push(`${name}: ${strangers.length} of ${FETCHES} clients got ${strangers[0]}`);

  if (mend === 'plug') lab.router.ip(`link set ${guest.device} up`);
  else await order(lab, workers[0], mend);
  const isUp = (kind: Kind) => news().findLast(({ pool }) => pool === kind)?.event !== 'health-down';
  await until(
    () => KINDS.every(isUp),
    MEND_PATIENCE,
    `${name}: after it was mended ${KINDS.filter((kind) => !isUp(kind))} stays down`,
  );
}

/** A service that comes and goes: found as such, and held down, by the checks that see it. */
async function flap(scene: Scene, director: RunningDirector): Promise<void> {
  const { lab, workers, figures, complaints } = scene;
  let first = 0;
  for (let i = 0; i < FLAPS; i++) {
    const at = await order(lab, workers[0], { service: 'shut' });
    if (i === 0) first = at;
    await sleep(FLAP.shut);
    await order(lab, workers[0], { service: 'open' });
    await sleep(FLAP.open);
  }
  const lines = journal(director);
  const cells = KINDS.map((kind) => {
    const own = lines.filter(({ pool }) => pool === kind);
    const held = own.findIndex(({ event }) => event === 'health-held');
    const sees = TUNNEL.includes(kind);
    if (held < 0) {
      if (sees || own.length > 0) complaints.push(`flapping: ${kind} went ${own.map(({ event }) => event).join(', ')}`);
      return `${kind} green`;
    }
    const ups = own.slice(held).filter(({ event }) => event === 'health-up').length;
    if (ups > 0 || !sees) complaints.push(`flapping: ${kind} came up ${ups} times after it was held down`);
    const downs = own.slice(0, held).filter(({ event }) => event === 'health-down').length;
    return `${kind} held down after ${downs} times, ${((own[held].at - first) / 1000).toFixed(1)} s`;
  });
  figures[`flapping (${FLAP.shut / 1000} s shut, ${FLAP.open / 1000} s open)`] = cells.join(' · ');
}

async function withDirector(scene: Scene, yaml: string, act: (director: RunningDirector) => Promise<void>): Promise<void> {
  const director = await RunningDirector.start(scene.lab.director, yaml);
  try {
    await act(director);
  } finally {
    const code = await director.stop();
    if (code !== 0) scene.complaints.push(`the director ended with ${code}: ${director.log.slice(-500)}`);
  }
}

async function run(scale: Scale): Promise<Outcome> {
  const size = SIZES[scale];
  const lab = Lab.create({ workers: 2 });
  const programs: Program[] = [];
  let guest: Guest | undefined;
  try {
    const program = resolve(import.meta.dirname, 'health-worker.mjs');
    const address = '10.80.1.31';
    const ready = 'for i in $(seq 300); do grep -q ready /run/worker && break; sleep 0.1; done';
    // Without servers of its own it is given at once, and boots while the others start.
    guest = await Guest.boot(lab, {
      vips: [VIP4],
      webPorts: [],
      extra: [`${process.execPath} ${program} ${UML} ${address} ${VIP4} > /run/worker &`, ready],
    });
    const workers = [{ name: UML, address }, ...lab.workers.map(({ role, address4 }) => ({ name: role, address: address4 }))];
    const starts = lab.workers.flatMap((worker) => [
      Program.start(worker, process.execPath, [built('cli/main'), 'worker'], 'ready'),
      Program.start(worker, process.execPath, [program, worker.role, worker.address4, VIP4], 'ready'),
    ]);
    programs.push(...(await Promise.all(starts)));
    const booted: Guest = guest;
    await until(() => booted.console.includes('uml-kernel'), BOOT_PATIENCE, 'the guest did not get ready');
    const scene: Scene = { lab, guest, workers, figures: {}, complaints: [] };
    const yaml = configuration(lab.director.address4, workers, size, "'off'");
    const { pools } = loadText(yaml, 'director.yaml').spec;
    const { own, others, size: slots } = changes(pools[0]);
    if (others > 0 || own === 0) scene.complaints.push(`${own} slots of its own change, and ${others} of others`);
    scene.figures['worker kernel'] = /^uml-kernel (.*?)\r?$/m.exec(guest.console)?.[1] ?? '';
    scene.figures['interval, timeout, fall'] = `${size.interval} s, ${size.timeout} s, ${size.fall}`;
    await withDirector(scene, yaml, async (director) => {
      for (const name of size.faults) await suffer(scene, director, pools, name, size);
    });
    if (size.flapping) {
      const damped = '{ half-life: 120, suppress: 2.5, reuse: 1, longest: 120 }';
      await withDirector(scene, configuration(lab.director.address4, workers, FLAPPING, damped), (director) =>
        flap(scene, director),
      );
    }
    const { figures, complaints } = scene;
    figures['slots that change when it is down'] =
      `${own} of ${slots}, every one of them its own; the table in force has the digest of just that one`;
    figures[`${FETCHES} new connections during each fault`] = 'all answered by the two others';
    return { passed: complaints.length === 0, figures: { ...figures, complaints: complaints.slice(0, 8).join(' | ') || 'none' } };
  } finally {
    await guest?.stop();
    await Promise.all(programs.map((program) => program.stop()));
    lab.close();
  }
}

export const health: Line = {
  name: 'health',
  claim:
    'Service down, decapsulation port closed, VIP missing, rp_filter strict, host gone, slow answers and flapping of a real Linux worker (User-Mode Linux) are each found by the checks that can see them within fall × interval + timeout, and traffic moves with only that worker’s slots changing; the check `tunnel` finds the first four where direct TCP, HTTP and ICMP checks stay green.',
  twin: 'test/full/health.test.ts',
  run,
};
