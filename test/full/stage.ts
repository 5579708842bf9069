// A lab with a running director and one worker, for lines that send real traffic: what is started, in which order, and what the counters of
// everybody on the way say afterwards.

import { Lab, type LabOptions, VIP4, VIP6 } from '../../src/demo/lab/topology.ts';
import { built, RunningDirector } from '../uml/director.ts';
import { Program } from './program.ts';

export const WEB_PORT = 80;
export const IPERF_PORT = 5201;
/** Services of programs that a line brings itself. */
export const OTHER_PORT = 7000;

/** Reasons that would be a packet lost for its size, and those for packets that were made wrong. */
export const SIZE_REASONS = [
  'too-big',
  'too-big-rate',
  'send-too-big',
  'super-packet',
  'super-packet-checksum',
  'truncated',
  'bad-virtio-header',
  'tunnel-length',
  'fragment',
] as const;

export interface StageOptions extends LabOptions {
  /** YAML of `ingress`. Default: TUN device gd0. */
  readonly ingress?: string;
  /** YAML of `egress`. Default: raw. */
  readonly egress?: string;
  /** Tunnel endpoints for both families instead of a worker of the lab's: a guest's. */
  readonly endpoints?: (lab: Lab) => readonly [string, string];
  /** More lines for each service. */
  readonly service?: string;
}

const INGRESS = '{ driver: tun, device: gd0 }';
const EGRESS = '{ driver: raw }';

/** Both virtual IPs, everything to one worker: what belongs together (iperf3's two connections) stays together. */
function configuration(lab: Lab, options: StageOptions): string {
  const endpoints = options.endpoints?.(lab) ?? [lab.workers[0].address4, lab.workers[0].address6];
  const services = [VIP4, VIP6].flatMap((address, k) =>
    (['tcp', 'udp'] as const).map(
      (protocol) =>
        `  - { name: ${protocol}-${k === 0 ? 4 : 6}, address: "${address}", protocol: ${protocol}, port: [${WEB_PORT}, ${IPERF_PORT}, ${OTHER_PORT}], pool: pool-${k === 0 ? 4 : 6}${options.service ?? ''} }`,
    ),
  );
  const pools = endpoints.map(
    (address, k) => `  pool-${k === 0 ? 4 : 6}: { backends: [{ name: worker, address: "${address}" }] }`,
  );
  return [
    'services:',
    ...services,
    'pools:',
    ...pools,
    `tunnel: { port: 6080, source: { ipv4: "${lab.director.address4}", ipv6: "${lab.director.address6}" } }`,
    `ingress: ${options.ingress ?? INGRESS}`,
    `egress: ${options.egress ?? EGRESS}`,
    'flows: { entries: 65536 }',
    'log: { format: text }',
    '',
  ].join('\n');
}

export class Stage {
  readonly lab: Lab;
  readonly director: RunningDirector;
  readonly #programs: readonly Program[];
  #ownsLab = false;

  private constructor(lab: Lab, director: RunningDirector, programs: readonly Program[]) {
    this.lab = lab;
    this.director = director;
    this.#programs = programs;
  }

  /** Everything up, with an HTTP server and an iperf3 server on the worker. On failure nothing is left. */
  static async open(options: StageOptions): Promise<Stage> {
    const lab = Lab.create({ workers: 1, ...options });
    try {
      const stage = await Stage.inLab(lab, options);
      stage.#ownsLab = true;
      return stage;
    } catch (error) {
      lab.close();
      throw error;
    }
  }

  /** The same in a lab that is there already and that stays, without servers when it has no worker. */
  static async inLab(lab: Lab, options: StageOptions): Promise<Stage> {
    const programs: Program[] = [];
    try {
      for (const worker of lab.workers) {
        programs.push(
          ...(await Promise.all([
            Program.start(worker, process.execPath, [built('cli/main'), 'worker'], 'ready'),
            Program.start(worker, process.execPath, [built('demo/web-server'), worker.role, String(WEB_PORT)], 'ready'),
            Program.start(worker, 'iperf3', ['-s', '-p', String(IPERF_PORT), '--forceflush'], 'listening'),
          ])),
        );
      }
      return new Stage(lab, await RunningDirector.start(lab.director, configuration(lab, options)), programs);
    } catch (error) {
      await Promise.all(programs.map((program) => program.stop()));
      throw error;
    }
  }

  /** Process id of the user-space worker; /proc/PID/net is its namespace's. */
  get workerPid(): number {
    return this.#programs[0].pid;
  }

  /** The director's metrics, by name with labels. */
  async counters(): Promise<Map<string, number>> {
    const lines = (await this.director.metrics()).split('\n').filter((line) => line.startsWith('gue_director_'));
    return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
  }

  /** Everything is ended; what the director ended with, and what the worker said last. */
  async close(): Promise<{ exitCode: number | null; worker: string }> {
    try {
      const exitCode = await this.director.stop();
      await Promise.all(this.#programs.map((program) => program.stop()));
      return { exitCode, worker: this.#programs[0]?.words ?? '' };
    } finally {
      if (this.#ownsLab) this.lab.close();
    }
  }
}

/** How many packets the director lost for each of `reasons`; only those that are not 0. */
export function dropped(counters: ReadonlyMap<string, number>, reasons: readonly string[]): Map<string, number> {
  const found = reasons.map((reason): [string, number] => {
    const count = counters.get(`gue_director_dropped_packets_total{reason="${reason}"}`);
    if (count === undefined) throw new Error(`no counter for ${reason}`);
    return [reason, count];
  });
  return new Map(found.filter(([, count]) => count > 0));
}

/** All drops of the director, by reason. */
export function allDrops(counters: ReadonlyMap<string, number>): Map<string, number> {
  const reasons = [...counters.keys()].flatMap((name) => /dropped_packets_total\{reason="([^"]+)"\}/.exec(name)?.[1] ?? []);
  return dropped(counters, reasons);
}

/** `too-big 3, fragment 1`, or `none`. */
export function text(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([word, count]) => `${word} ${count}`).join(', ') || 'none';
}
