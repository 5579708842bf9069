// The lab that is broken: everything is healthy when it opens. Links carry whole packets, as wires do: a super-packet would pass a link of any MTU.
//
//     client ── router ── director 10.80.1.10
//                  │  └── uml-31 10.80.1.31     full size: a kernel that unwraps (User-Mode Linux), pool `kernel`
//                  └───── worker-1, worker-2    behind the router, 10.80.2.21 and .22: gue-director worker, pools `web` and `pair`

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Namespace } from '../../../src/demo/lab/namespace.ts';
import { Lab, VIP4 } from '../../../src/demo/lab/topology.ts';
import { built, runIn } from '../../uml/director.ts';
import { Guest } from '../../uml/guest.ts';
import { Program } from '../program.ts';

export const PORT = { web: 80, kernel: 81, pair: 8080, wide: 9090 } as const;
const DOOR = 9000;
const KERNEL_HOST = 31;
const BOOT_SECONDS = 60;
const METRICS = 'http://127.0.0.1:6079';

/** Where something is typed: the director, the namespaces of the workers, the kernel worker, the client and the router. */
export type Place = 'director' | 'worker-1' | 'worker-2' | 'kernel' | 'client' | 'router';

/** What a lab changes of the configuration. */
export interface Changes {
  /** UDP port of the tunnels to the kernel worker. */
  readonly kernelPort?: number;
  /** `oversize` of the service `web`. */
  readonly oversize?: string;
  /** More services and pools, lines of YAML. */
  readonly services?: readonly string[];
  readonly pools?: readonly string[];
}

interface Asked {
  /** Bytes of the request's body: 0 for a few small packets only. */
  readonly bytes?: number;
  /** The client's port. Absent: any. */
  readonly from?: number;
  readonly seconds?: number;
}

export class Scene {
  readonly lab: Lab;
  readonly #folder = mkdtempSync(join(tmpdir(), 'gue-director-broken-'));
  readonly #programs: Program[] = [];
  #guest: Guest | null = null;
  #director: Program | null = null;
  #asking: ChildProcess | null = null;

  private constructor(lab: Lab) {
    this.lab = lab;
  }

  /** `kernelWorker`: boots a guest beside everything else, which takes some seconds. */
  static async open(kernelWorker: boolean): Promise<Scene> {
    const scene = new Scene(Lab.create({ workers: 2, workersRouted: true, offloads: 'none' }));
    try {
      await scene.#start(kernelWorker);
    } catch (error) {
      await scene.close();
      throw error;
    }
    return scene;
  }

  async #start(kernelWorker: boolean): Promise<void> {
    const script = resolve(import.meta.dirname, 'service.mjs');
    const { lab } = this;
    if (kernelWorker) {
      const ready = 'for i in $(seq 300); do grep -q ready /run/service && break; sleep 0.1; done';
      this.#guest = await Guest.boot(lab, {
        host: KERNEL_HOST,
        vips: [VIP4],
        webPorts: [],
        extra: [`${process.execPath} ${script} uml-${KERNEL_HOST} ${DOOR} ${PORT.kernel} > /run/service &`, ready],
      });
    }
    const ports = [
      [PORT.web, PORT.pair, PORT.wide],
      [PORT.web, PORT.pair],
    ];
    writeFileSync(this.file, this.configuration());
    const start = async (...what: Parameters<typeof Program.start>) => {
      this.#programs.push(await Program.start(...what));
    };
    await Promise.all([
      ...lab.workers.map((worker) => start(worker, process.execPath, [built('cli/main'), 'worker'], 'ready')),
      ...lab.workers.map((worker, k) =>
        start(worker, process.execPath, [script, worker.role, String(DOOR), ...ports[k].map(String)], 'ready'),
      ),
      this.startDirector(),
    ]);
    const guest = this.#guest;
    const deadline = performance.now() + BOOT_SECONDS * 1000;
    while (guest !== null && !guest.console.includes('uml-kernel')) {
      if (performance.now() > deadline) throw new Error(`the guest did not get ready: ${guest.console}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  /** The configuration file of the director; workers may read it too. */
  get file(): string {
    return join(this.#folder, 'director.yaml');
  }

  get kernelAddress(): string {
    return `10.80.1.${KERNEL_HOST}`;
  }

  configuration(changes: Changes = {}): string {
    const { lab } = this;
    const [first, second] = lab.workers.map(({ role, address4 }) => `{ name: ${role}, address: ${address4} }`);
    const service = (name: string, port: number | string, pool: string, more = '') =>
      `  - { name: ${name}, address: ${VIP4}, protocol: tcp, port: ${port}, pool: ${pool}${more} }`;
    const oversize = changes.oversize === undefined ? '' : `, oversize: ${changes.oversize}`;
    const kernel = this.#guest === null ? [] : [service('kernel', PORT.kernel, 'kernel')];
    const kernelPort = changes.kernelPort ?? 6080;
    return [
      'services:',
      service('web', PORT.web, 'web', oversize),
      service('pair', PORT.pair, 'pair'),
      service('wide', '"9000-9099"', 'web'),
      ...kernel,
      ...(changes.services ?? []),
      'pools:',
      `  web: { table-size: 2039, backends: [${first}] }`,
      `  pair: { table-size: 2039, backends: [${first}, ${second}] }`,
      ...(this.#guest === null
        ? []
        : [
            `  kernel: { table-size: 2039, tunnel: { port: ${kernelPort} }, backends: [{ name: uml-${KERNEL_HOST}, address: ${this.kernelAddress} }] }`,
          ]),
      ...(changes.pools ?? []),
      `tunnel: { port: 6080, source: { ipv4: ${lab.director.address4} } }`,
      'ingress: { driver: tun, device: gd0 }',
      'flows: { entries: 4096 }',
      '',
    ].join('\n');
  }

  async startDirector(): Promise<void> {
    const { director } = this.lab;
    const program = await Program.start(director, process.execPath, [built('cli/main'), 'run', '--config', this.file], '');
    this.#director = program;
    await runIn(director, process.execPath, [built('demo/fetch'), `${METRICS}/-/ready`, '15']).catch((error: Error) => {
      throw new Error(`the director did not get ready: ${error.message}\n${program.words}`);
    });
  }

  /** A changed configuration, taken over by the running director. */
  async configure(changes: Changes): Promise<void> {
    writeFileSync(this.file, this.configuration(changes));
    const said = await this.program('director', ['reload', '--config', this.file]);
    if (said.code !== 0) throw new Error(`reload: ${said.output}`);
  }

  #namespace(place: Exclude<Place, 'kernel'>): Namespace {
    const { client, router, director, workers } = this.lab;
    return { client, router, director, 'worker-1': workers[0], 'worker-2': workers[1] }[place];
  }

  /** Runs a script there; both streams, and the exit code. */
  async shell(place: Place, script: string): Promise<{ code: number | null; output: string }> {
    if (place === 'kernel') return this.order(this.kernelAddress, { shell: script });
    const child = this.#namespace(place).spawn('sh', ['-c', script], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, FORCE_COLOR: '' },
    });
    let output = '';
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const [code] = await once(child, 'close');
    return { code: code as number | null, output };
  }

  /** The same, that must succeed. */
  async must(place: Place, script: string): Promise<void> {
    const { code, output } = await this.shell(place, script);
    if (code !== 0) throw new Error(`${script} on ${place} ended with ${code}: ${output}`);
  }

  /** `gue-director` with these words. */
  program(place: Place, words: readonly string[]): Promise<{ code: number | null; output: string }> {
    return this.shell(place, [process.execPath, built('cli/main'), ...words].map((word) => `'${word}'`).join(' '));
  }

  /** Has the program of a worker carry out an order (service.mjs), by the worker's own address. */
  async order(address: string, order: object): Promise<{ code: number | null; output: string }> {
    const script = `
      fetch('http://${address}:${DOOR}/', { method: 'POST', body: process.argv[1] })
        .then((response) => response.text())
        .then((text) => process.stdout.write(text))`;
    return JSON.parse(await runIn(this.lab.router, process.execPath, ['-e', script, JSON.stringify(order)]));
  }

  /** A small request, then a large one: what becomes of the latter, behind `large: ` when it alone fails. */
  async askBoth(port: number): Promise<string> {
    const small = await this.ask(port);
    const large = await this.ask(port, { bytes: 100_000 });
    return small.startsWith('fine') && !large.startsWith('fine') ? `large: ${large}` : large;
  }

  /** A request of the client's: `fine: worker-1 got 3000 bytes`, or what went wrong. */
  async ask(port: number, { bytes = 0, from = 0, seconds = 1.5 }: Asked = {}): Promise<string> {
    const script = `
      const [port, bytes, from, seconds] = process.argv.slice(1).map(Number);
      const options = { host: '${VIP4}', port, method: 'POST', agent: false, ...(from > 0 ? { localPort: from } : {}) };
      const say = (text) => { console.log(text); process.exit(0); };
      let state = 'no connection';
      setTimeout(() => say('silence: ' + state + ' within ' + seconds + ' s'), seconds * 1000);
      const request = require('node:http').request(options, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (piece) => { text += piece; });
        response.on('end', () => say('fine: ' + text.trim().replace(' ', ' got ') + ' bytes'));
      });
      request.on('socket', (socket) => socket.on('connect', () => { state = 'connected, no answer'; }));
      request.on('error', (error) => say(error.code ?? error.message));
      request.end(Buffer.alloc(bytes, 7));`;
    const words = [port, bytes, from, seconds].map(String);
    return (await runIn(this.lab.client, process.execPath, ['-e', script, ...words])).trim();
  }

  /** A client that tries to connect four times a second, until `quiet`. */
  keepAsking(port: number): void {
    const script = `setInterval(() => { const socket = require('node:net').connect(${port}, '${VIP4}'); socket.on('error', () => {}); setTimeout(() => socket.destroy(), 240); }, 250)`;
    this.#asking = this.lab.client.spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
  }

  quiet(): void {
    this.#asking?.kill('SIGKILL');
    this.#asking = null;
  }

  async close(): Promise<void> {
    this.quiet();
    try {
      await this.#director?.stop();
      await Promise.all([this.#guest?.stop(), ...this.#programs.map((program) => program.stop())]);
    } finally {
      this.lab.close();
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }
}
