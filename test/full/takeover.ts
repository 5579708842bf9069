// A director that is replaced again and again under load: a flood of datagrams at the highest rate that it carries, every one of them counted at
// the worker, and paced TCP transfers that must not notice.
//
//     client: flood ─────► router ──► director, replaced ──┬─► worker, port 6081: counted by a rule, and gone
//             transfers ─►                                 └─► worker, port 6080: unwrapped, answered
//
// The rate is looked for first: raised step by step until packets are lost without anything being replaced, then taken one step back. What arrives is
// counted behind the tunnel by the kernel, so sent = arrived + what the director and its device counted as dropped, or somebody lost a packet.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAction, askStatus } from '../../src/admin/client.ts';
import { Actor } from '../../src/demo/cast.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { built } from '../uml/director.ts';
import type { Line, Outcome, Scale } from './line.ts';

interface Case {
  readonly ingress: string;
  readonly egress: string;
  readonly threads: number;
}

interface Size {
  readonly cases: readonly Case[];
  readonly takeovers: number;
  readonly transfers: number;
  /** Packets a second, in the order in which they are tried. */
  readonly rates: readonly number[];
  /** Milliseconds that each rate is tried for, and between two takeovers. */
  readonly trialMs: number;
  readonly restMs: number;
}

const TUN: Case = { ingress: '{ driver: tun, device: gd0 }', egress: '{ driver: auto }', threads: 1 };
const TAP: Case = { ingress: '{ driver: tap, device: gd0 }', egress: '{ driver: udp }', threads: 2 };
const PACKET: Case = { ingress: '{ driver: packet, interface: eth0 }', egress: '{ driver: raw }', threads: 2 };

/** The twin: one takeover for two of the three ways in, a tenth of the transfers, and no search for the rate. */
const SIZES: Readonly<Record<Scale, Size>> = {
  full: {
    cases: [TUN, TAP, PACKET],
    takeovers: 5,
    transfers: 100,
    rates: [5, 10, 20, 30, 40, 60, 80, 100, 120, 150, 180, 220].map((thousands) => thousands * 1000),
    trialMs: 1000,
    restMs: 1000,
  },
  scaled: { cases: [TUN, PACKET], takeovers: 1, transfers: 10, rates: [5000], trialMs: 300, restMs: 200 },
};

const FLOOD_PORT = 9999;
const TCP_PORT = 7777;
const SINK_PORT = 6081;
const PROGRAM = join(import.meta.dirname, 'takeover_flows.py');
/** Seconds that a transfer may wait for its answer: more is a stall. The twin shares its machine with whatever else runs there. */
const STALL: Readonly<Record<Scale, number>> = { full: 1, scaled: 5 };
/** Not of the flood, nor of the transfers: what neighbours ask on a link. */
const STRANGERS = ['not-a-service', 'not-ip', 'wrong-host'];

function configuration(lab: Lab, { ingress, egress, threads }: Case): string {
  const address = lab.workers[0].address4;
  return `services:
  - { name: flood, address: "${lab.vip4}", protocol: udp, port: ${FLOOD_PORT}, pool: sink }
  - { name: tcp, address: "${lab.vip4}", protocol: tcp, port: ${TCP_PORT}, pool: web }
pools:
  sink: { tunnel: { port: ${SINK_PORT} }, backends: [{ name: sink, address: "${address}" }] }
  web: { backends: [{ name: web, address: "${address}" }] }
tunnel: { port: 6080, source: { ipv4: "${lab.director.address4}" } }
ingress: ${ingress}
egress: ${egress}
threads: ${threads}
flows: { entries: 65536 }
metrics: { listen: off }
log: { level: info, format: json }
`;
}

interface Counted {
  readonly pid: number;
  readonly received: number;
  /** Packets of the flood that were steered. */
  readonly flood: number;
  /** By the director, for any reason but that they were none of its business; and by its device or socket, before it could read them. */
  readonly dropped: number;
  readonly lost: number;
  readonly drops: string;
}

/** What the director that answers at the socket now says, of itself and of those before it. */
async function counted(socket: string): Promise<Counted> {
  const { pid, packets, drops, services } = await askStatus({ path: socket });
  const reasons = Object.entries(drops).filter(([reason]) => !STRANGERS.includes(reason));
  return {
    pid,
    received: packets.received,
    flood: services.find(({ name }) => name === 'flood')?.packets ?? 0,
    dropped: reasons.reduce((sum, [, count]) => sum + count, 0),
    lost: packets.lost,
    drops: reasons.map(([reason, count]) => `${reason} ${count}`).join(', ') || 'none',
  };
}

/** The flood: its rate is set by a line, and each line is answered by how many datagrams were sent. */
class Flood {
  readonly #actor: Actor;
  #lines = 1;

  constructor(actor: Actor) {
    this.#actor = actor;
  }

  async rate(packets: number): Promise<number> {
    this.#actor.child.stdin?.write(`${packets}\n`);
    return Number((await this.#actor.lines(++this.#lines, 30)).at(-1));
  }
}

async function within(milliseconds: number, condition: () => Promise<boolean>): Promise<boolean> {
  const deadline = Date.now() + milliseconds;
  while (!(await condition())) {
    if (Date.now() > deadline) return false;
    await sleep(50);
  }
  return true;
}

interface Passage {
  readonly figures: Readonly<Record<string, number | string>>;
  readonly complaints: readonly string[];
}

async function passage(one: Case, scale: Scale): Promise<Passage> {
  const size = SIZES[scale];
  const lab = Lab.create({ workers: 1 });
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-takeover-'));
  const actors: Actor[] = [];
  let pid = 0;
  try {
    const [worker] = lab.workers;
    const start = async (actor: Actor, word: string): Promise<Actor> => {
      actors.push(actor);
      await actor.says(word, 60);
      return actor;
    };
    worker.run(
      'nft',
      ['-f', '-'],
      'table inet sink { chain in { type filter hook prerouting priority -300; udp dport 6081 counter drop\n}\n}\n',
    );
    const arrived = () => Number(/counter packets (\d+)/.exec(worker.run('nft', ['list', 'table', 'inet', 'sink']))?.[1]);
    const python = (name: string, namespace: typeof worker, ...args: string[]) =>
      start(Actor.command(name, namespace, 'python3', PROGRAM, ...args), 'ready');
    await start(Actor.command('worker', worker, process.execPath, built('cli/main'), 'worker'), 'ready');
    await python('server', worker, 'server', String(TCP_PORT));
    const file = join(folder, 'director.yaml');
    writeFileSync(file, configuration(lab, one));
    const director = await start(
      Actor.command('director', lab.director, process.execPath, built('cli/main'), 'run', '--config', file),
      '"event":"ready"',
    );
    const socket = join(lab.director.runtimeDirectory, 'admin.sock');
    pid = director.child.pid as number;
    const flood = new Flood(await python('flood', lab.client, 'flood', lab.vip4, String(FLOOD_PORT)));
    const transfers = await python('transfers', lab.client, 'transfers', lab.vip4, String(TCP_PORT), String(size.transfers));

    let rate = size.rates[0];
    await flood.rate(rate);
    for (const candidate of size.rates) {
      const before = await counted(socket);
      await flood.rate(candidate);
      await sleep(size.trialMs);
      const after = await counted(socket);
      // What the sender could not keep up with is no higher rate.
      const reached = (after.flood - before.flood) / (size.trialMs / 1000) > candidate * 0.8;
      if (candidate > rate && (after.lost > before.lost || after.dropped > before.dropped || !reached)) break;
      rate = candidate;
    }
    await flood.rate(rate);
    await sleep(size.restMs);
    const before = await counted(socket);
    const gaps: number[] = [];
    const steps: number[] = [];
    const began = performance.now();
    for (let turn = 0; turn < size.takeovers; turn++) {
      const { status, body } = await askAction(socket, '/-/upgrade', {}, 120_000);
      if (status !== 200) throw new Error(`takeover ${turn + 1}: ${JSON.stringify(body)}`);
      pid = body.process as number;
      gaps.push(...((body.ready as { gaps: number[] }).gaps ?? []));
      steps.push(body.milliseconds as number);
      await sleep(size.restMs);
    }
    const seconds = (performance.now() - began) / 1000;
    const sent = await flood.rate(0);
    transfers.child.stdin?.end('\n');
    const said = JSON.parse((await transfers.lines(2, 60))[1]) as { messages: number; broken: number; longest: number };
    let after = await counted(socket);
    await within(5000, async () => {
      after = await counted(socket);
      return arrived() + after.dropped + after.lost >= sent;
    });
    const came = arrived();
    const missing = sent - came - after.dropped - after.lost;
    const name = `${/driver: ([a-z]+)/.exec(one.ingress)?.[1]} to ${/driver: ([a-z]+)/.exec(one.egress)?.[1]}, threads: ${one.threads}`;
    const complaints: string[] = [];
    // Fewer than none: of what the device dropped some was of the transfers.
    if (missing > 0) complaints.push(`${missing} packets of ${sent} are nowhere`);
    if (said.broken > 0) complaints.push(`${said.broken} transfers broke`);
    if (said.longest > STALL[scale]) complaints.push(`a transfer waited ${said.longest.toFixed(2)} s`);
    if (after.received < before.received) complaints.push('counters went back');
    return {
      complaints: complaints.map((text) => `${name}: ${text}`),
      figures: {
        [`${name}: packets a second`]: rate,
        [`${name}: takeovers`]: `${size.takeovers} in ${seconds.toFixed(1)} s, each ${Math.min(...steps)} to ${Math.max(...steps)} ms`,
        [`${name}: nobody read a queue for, ms`]: `${Math.min(...gaps)} to ${Math.max(...gaps)}`,
        [`${name}: datagrams sent, arrived, dropped and counted, missing`]: `${sent}, ${came}, ${after.dropped + after.lost}, ${missing}`,
        [`${name}: dropped by the device or socket, by the director, while replaced`]: `${after.lost - before.lost}, ${after.dropped - before.dropped} (${after.drops})`,
        [`${name}: transfers, answers, broken, longest wait`]: `${size.transfers}, ${said.messages}, ${said.broken}, ${said.longest.toFixed(3)} s`,
      },
    };
  } catch (error) {
    const words = actors.map((actor) => `${actor.name}: ${actor.words.slice(-1500)}`).join('\n');
    throw new Error(`${(error as Error).message}\n${words}`, { cause: error });
  } finally {
    if (lab.director.processes().includes(pid)) process.kill(pid, 'SIGTERM');
    await within(5000, async () => !lab.director.processes().includes(pid));
    for (const actor of actors) actor.child.kill('SIGKILL');
    lab.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function run(scale: Scale): Promise<Outcome> {
  const figures: Record<string, number | string> = {};
  const complaints: string[] = [];
  for (const one of SIZES[scale].cases) {
    const told = await passage(one, scale);
    Object.assign(figures, told.figures);
    complaints.push(...told.complaints);
  }
  figures.complaints = complaints.join('; ') || 'none';
  return { passed: complaints.length === 0, figures };
}

export const takeover: Line = {
  name: 'takeover',
  claim:
    'A director that is replaced five times in a row by takeover, at the highest packet rate the machine carries and over each way in, loses no packet: what was sent arrived or is counted as dropped, and of 100 paced TCP transfers none breaks or waits for more than a second.',
  twin: 'test/full/takeover.test.ts',
  run,
};
