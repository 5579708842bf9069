// A director that is killed, and its successor with another pool and another number of threads: connections stay with their worker. A file that does not
// fit is ignored with the reason, and the successor forwards.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Lab } from '../../src/demo/lab/topology.ts';
import { built, RunningDirector } from '../uml/director.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Program } from './program.ts';

const SCRIPT = join(import.meta.dirname, 'flows.py');
const PORT = 80;
const CONNECTIONS: Readonly<Record<Scale, number>> = { full: 500, scaled: 60 };
const WORKERS = 3;

function configuration(lab: Lab, workers: number, threads: number): string {
  const backends = lab.workers.slice(0, workers).map(({ role, address4 }) => `{ name: ${role}, address: "${address4}" }`);
  return [
    `services: [{ name: web, address: "${lab.vip4}", protocol: tcp, port: ${PORT}, pool: web }]`,
    `pools: { web: { backends: [${backends.join(', ')}] } }`,
    `tunnel: { port: 6080, source: { ipv4: "${lab.director.address4}" } }`,
    'ingress: { driver: tun, device: gd0 }',
    'egress: { driver: raw }',
    `threads: ${threads}`,
    'flows: { entries: 65536 }',
    'log: { format: text }',
    '',
  ].join('\n');
}

/** Connections that a program of the client's holds. */
class Connections {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(lab: Lab, count: number) {
    this.#child = lab.client.spawn('python3', [SCRIPT, 'client', lab.vip4, String(PORT), String(count)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async opened(): Promise<void> {
    const { value } = await this.#lines.next();
    if (value !== 'ready') throw new Error(`connections could not be opened: ${String(value)}`);
  }

  /** Who answers on each. */
  async ask(): Promise<string[]> {
    this.#child.stdin!.write('\n');
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the client ended');
    return JSON.parse(value) as string[];
  }

  async close(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.stdin!.end();
    await ended;
  }
}

async function kill(director: RunningDirector): Promise<void> {
  process.kill(director.pid, 'SIGKILL');
  await director.stop();
}

const said = (director: RunningDirector): string => /^.*event=flow-file.*$/m.exec(director.log)?.[0] ?? 'nothing';

async function run(scale: Scale): Promise<Outcome> {
  const count = CONNECTIONS[scale];
  const figures: Record<string, number | string> = { connections: count };
  const complaints: string[] = [];
  const lab = Lab.create({ workers: WORKERS });
  const programs: Program[] = [];
  let director: RunningDirector | null = null;
  let connections: Connections | null = null;
  try {
    for (const worker of lab.workers) {
      programs.push(
        ...(await Promise.all([
          Program.start(worker, process.execPath, [built('cli/main'), 'worker'], 'ready', 60),
          Program.start(worker, 'python3', [SCRIPT, 'server', worker.role, String(PORT)], 'ready', 60),
        ])),
      );
    }
    director = await RunningDirector.start(lab.director, configuration(lab, WORKERS - 1, 1));
    connections = new Connections(lab, count);
    await connections.opened();
    const before = await connections.ask();
    if ((await connections.ask()).some((name, i) => name !== before[i])) complaints.push('connections moved by themselves');
    figures['workers before'] = [...new Set(before)].sort().join(', ');
    for (const [about, workers, threads] of [
      ['a backend more, four threads', WORKERS, 4],
      ['the backend gone again, two threads', WORKERS - 1, 2],
    ] as const) {
      await kill(director);
      director = await RunningDirector.start(lab.director, configuration(lab, workers, threads));
      const after = await connections.ask();
      const moved = after.filter((name, i) => name !== before[i]);
      figures[`killed; ${about}: moved`] = `${moved.length} of ${count}`;
      if (moved.length > 0) complaints.push(`${about}: ${[...new Set(moved)].join(', ')}`);
      if (!said(director).includes('was picked up')) complaints.push(`${about}: ${said(director)}`);
    }
    await connections.close();
    connections = null;
    const file = `${lab.director.runtimeDirectory}/flows`;
    const spoil = (at: number) => {
      const content = readFileSync(file);
      content[at] ^= 1;
      writeFileSync(file, content);
    };
    const wrongs: readonly [string, () => void, string][] = [
      ['a damaged header', () => spoil(48), 'header is damaged'],
      ['another program’s file', () => writeFileSync(file, 'not a flow table'), 'it is too short'],
    ];
    for (const [about, change, reason] of scale === 'full' ? wrongs : wrongs.slice(0, 1)) {
      await kill(director);
      change();
      director = await RunningDirector.start(lab.director, configuration(lab, WORKERS, 1));
      figures[about] = said(director).replace(/^.*?WARN +/, '');
      if (!said(director).includes(reason)) complaints.push(`${about}: ${said(director)}`);
      const fresh = new Connections(lab, 20);
      await fresh.opened();
      const answers = await fresh.ask();
      await fresh.close();
      if (answers.some((name) => !name.startsWith('worker'))) complaints.push(`${about}: answers ${answers.join()}`);
    }
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${director?.log.slice(-2000)}`);
  } finally {
    await connections?.close();
    await director?.stop();
    await Promise.all(programs.map((program) => program.stop()));
    lab.close();
  }
  figures.complaints = complaints.join('; ') || 'none';
  return { passed: complaints.length === 0, figures };
}

export const crashFlows: Line = {
  name: 'crash-flows',
  claim:
    'All of 500 TCP connections stay with their worker when the director is killed and started again with another pool and other threads; a flow table file that does not fit is ignored with the reason.',
  twin: 'test/full/crash-flows.test.ts',
  run,
};
