// A lab for drains and watched files: three workers that say their names, a client with many connections, a director whose files can be replaced.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Namespace } from '../../src/demo/lab/namespace.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { built, RunningDirector } from '../uml/director.ts';
import { Program } from './program.ts';

const SCRIPT = resolve(import.meta.dirname, 'drain_flows.py');
export const PORT = 7000;

export type Counts = Readonly<Record<string, number>>;

export interface Opened {
  readonly owners: Counts;
  readonly failed: number;
}

export interface Said {
  readonly alive: Counts;
  readonly broken: Counts;
  /** Answers of another worker than the connection's. */
  readonly strange: number;
  readonly rounds?: number;
}

/** The client program: one order, one answer. */
class FlowClient {
  readonly #child: ChildProcess;
  #text = '';
  #lines: string[] = [];
  #wake: () => void = () => {};

  constructor(namespace: Namespace, address: string) {
    this.#child = namespace.spawn('python3', [SCRIPT, 'client', address, String(PORT)], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdout!.setEncoding('utf8').on('data', (part: string) => {
      this.#text += part;
      const lines = this.#text.split('\n');
      this.#text = lines.pop() ?? '';
      this.#lines.push(...lines);
      this.#wake();
    });
    this.#child.once('close', () => this.#wake());
  }

  async answer(): Promise<unknown> {
    while (this.#lines.length === 0) {
      if (this.#child.exitCode !== null) throw new Error(`the client ended with ${this.#child.exitCode}`);
      await new Promise<void>((done) => {
        this.#wake = done;
      });
    }
    return JSON.parse(this.#lines.shift() as string);
  }

  async order(order: object): Promise<unknown> {
    this.#child.stdin!.write(`${JSON.stringify(order)}\n`);
    return this.answer();
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

export class DrainStage {
  readonly lab: Lab;
  readonly folder: string;
  #director: RunningDirector | null = null;
  #client: FlowClient | null = null;
  readonly #programs: Program[] = [];

  private constructor(lab: Lab) {
    this.lab = lab;
    this.folder = mkdtempSync(join(tmpdir(), 'gue-director-drain-'));
  }

  /** `pool`: the lines of the only pool, made from the lab. On failure nothing is left. */
  static async open(workers: number, pool: (stage: DrainStage) => readonly string[]): Promise<DrainStage> {
    const stage = new DrainStage(Lab.create({ workers }));
    try {
      const { lab } = stage;
      const started = lab.workers.flatMap((worker) => [
        Program.start(worker, process.execPath, [built('cli/main'), 'worker'], 'ready'),
        Program.start(worker, 'python3', [SCRIPT, 'server', worker.role, String(PORT)], 'ready'),
      ]);
      stage.#programs.push(...(await Promise.all(started)));
      const yaml = [
        'services:',
        `  - { name: web, address: "${lab.vip4}", protocol: tcp, port: ${PORT}, pool: web }`,
        'pools:',
        '  web:',
        ...pool(stage).map((line) => `    ${line}`),
        `tunnel: { source: { ipv4: "${lab.director.address4}" } }`,
        'ingress: { driver: tun }',
        'egress: { driver: raw }',
        'flows: { entries: 65536 }',
        'log: { format: json }',
        '',
      ].join('\n');
      stage.#director = await RunningDirector.start(lab.director, yaml);
      stage.#client = new FlowClient(lab.client, lab.vip4);
      await stage.#client.answer();
      return stage;
    } catch (error) {
      await stage.close();
      throw error;
    }
  }

  get director(): RunningDirector {
    return this.#director as RunningDirector;
  }

  /** Connections that stay, and short ones. */
  async connect(how: 'open' | 'new', count: number): Promise<Opened> {
    return (await (this.#client as FlowClient).order({ do: how, count })) as Opened;
  }

  async say(): Promise<Said> {
    return (await (this.#client as FlowClient).order({ do: 'say' })) as Said;
  }

  async pace(seconds: number): Promise<Said> {
    return (await (this.#client as FlowClient).order({ do: 'pace', seconds })) as Said;
  }

  async finish(owner: string, count: number): Promise<{ finished: number; wrong: number }> {
    return (await (this.#client as FlowClient).order({ do: 'finish', owner, count })) as { finished: number; wrong: number };
  }

  /** `gue-director …` in the director's namespace: exit code, both outputs. */
  command(...args: string[]): Promise<{ code: number | null; output: string }> {
    const all = ['netns', 'exec', this.lab.director.name, process.execPath, built('cli/main'), ...args];
    const socket = ['--socket', join(this.lab.director.runtimeDirectory, 'admin.sock')];
    const child = spawn('ip', [...all, ...socket], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    return new Promise((done) => {
      child.once('close', (code) => done({ code, output }));
    });
  }

  /** A file beside the others, replaced by rename. */
  write(name: string, text: string): void {
    const path = join(this.folder, name);
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  }

  async counters(): Promise<Map<string, number>> {
    const lines = (await this.director.metrics()).split('\n').filter((line) => line.startsWith('gue_director_'));
    return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
  }

  /** Waits until the director's log has `word`; throws with the log after `seconds`. */
  async logged(word: string, seconds: number, count = 1): Promise<void> {
    const end = performance.now() + seconds * 1000;
    while (this.director.log.split(word).length <= count) {
      if (performance.now() > end)
        throw new Error(`the director did not say "${word}" ${count} times: ${this.director.log.slice(-3000)}`);
      await new Promise((done) => setTimeout(done, 10));
    }
  }

  async close(): Promise<number | null> {
    try {
      this.#client?.stop();
      const code = (await this.#director?.stop()) ?? null;
      await Promise.all(this.#programs.map((program) => program.stop()));
      return code;
    } finally {
      this.lab.close();
      rmSync(this.folder, { recursive: true, force: true });
    }
  }
}

/** `worker-1 12, worker-2 9`, or `none`. */
export function countsText(counts: Counts): string {
  return (
    Object.entries(counts)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, count]) => `${name} ${count}`)
      .join(', ') || 'none'
  );
}
