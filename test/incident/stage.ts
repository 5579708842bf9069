// The lab of the incident: one client, one router, one director, one worker in user space, and the service behind it. The same lab serves
// as its own control: the router then sends the virtual IPs straight to the worker.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Actor } from '../../src/demo/cast.ts';
import { directorConfiguration, METRICS, TUNNEL_PORT } from '../../src/demo/configuration.ts';
import type { Namespace } from '../../src/demo/lab/namespace.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { type LoadResult, type Order, POST_PORT, STREAM_PORT } from './load.ts';

const HERE = '../../test/incident';

/** How long the last connections may take to close. */
const CLOSING_MS = 10_000;
/** States that send nothing any more (include/net/tcp_states.h): TIME_WAIT, CLOSE, LISTEN. */
const SILENT = ['06', '07', '0A'];

function hasConnections(namespace: Namespace): boolean {
  const lines = namespace.run('cat', ['/proc/net/tcp', '/proc/net/tcp6']).split('\n');
  return lines.some((line) => /^\s*\d+:/.test(line) && !SILENT.includes(line.trim().split(/\s+/)[3]));
}

export class Stage {
  readonly lab: Lab;
  readonly #folder = mkdtempSync(join(tmpdir(), 'gue-director-incident-'));
  readonly #actors: Actor[] = [];
  #client!: Actor;
  #worker!: Actor;
  #director: Actor | null = null;
  #way: 'raw' | 'udp' | null = null;
  #orders = 0;

  private constructor(lab: Lab) {
    this.lab = lab;
  }

  static async open(insideMtu: number): Promise<Stage> {
    const stage = new Stage(Lab.create({ workers: 1, insideMtu }));
    try {
      await stage.#start();
    } catch (error) {
      await stage.close();
      throw error;
    }
    return stage;
  }

  /**
   * Senders that send again what was lost, and nothing else: no tail loss probes, and a second of patience before a timeout. By default both
   * go by the clock, a probe two round trips after the last packet; where five processes share two cores each now and then waits longer
   * for its turn, and the receiver has the probe's packet already. Fast retransmission, which answers gaps, is as it was.
   */
  #patientSenders(): void {
    for (const namespace of [this.lab.client, ...this.lab.workers]) {
      const [gateway4, gateway6] = namespace === this.lab.client ? ['10.80.0.1', 'fd80::1'] : ['10.80.1.1', 'fd80:0:0:1::1'];
      namespace.sysctl({ 'net.ipv4.tcp_early_retrans': 0 });
      namespace.ip(
        `route replace default via ${gateway4} dev eth0 rto_min 1s`,
        `route del default via ${gateway6} dev eth0`,
        `route add default via ${gateway6} dev eth0 rto_min 1s`,
      );
    }
  }

  /**
   * One processor per flow on every veth (receive packet steering, Documentation/networking/scaling.rst). A veth hands a packet to the queue
   * of the processor that sends it; a sender that the scheduler moves then overtakes itself, and the receiver asks again for what it is
   * about to get. A network card does not do that: its receive side hashes a flow to one queue.
   */
  #steerByFlow(): void {
    const processors = (2 ** Math.min(cpus().length, 31) - 1).toString(16);
    for (const namespace of this.lab.namespaces) {
      namespace.run('sh', ['-e'], `for queue in /sys/class/net/*/queues/rx-*/rps_cpus; do echo ${processors} > $queue; done`);
    }
  }

  async #start(): Promise<void> {
    this.#steerByFlow();
    this.#patientSenders();
    const { client, workers } = this.lab;
    const start = (...what: Parameters<typeof Actor.start>) => {
      const actor = Actor.start(...what);
      this.#actors.push(actor);
      return actor;
    };
    start('the service', workers[0], `${HERE}/server`);
    this.#worker = start('the worker', workers[0], '../cli/main', 'worker', '--port', String(TUNNEL_PORT));
    this.#client = start('the client', client, `${HERE}/client`);
    await Promise.all(this.#actors.map((actor) => actor.says('ready')));
    await this.#client.lines(1, 20);
  }

  /** Egress of the director that the virtual IPs go through; null for none. */
  get way(): 'raw' | 'udp' | null {
    return this.#way;
  }

  /** From now on the virtual IPs go through a director. */
  async throughDirector(egress: 'raw' | 'udp'): Promise<void> {
    await this.#stopDirector();
    const file = join(this.#folder, 'director.yaml');
    const yaml = directorConfiguration(this.lab, { egress: `{ driver: ${egress} }` });
    writeFileSync(file, yaml.replaceAll(/, port: 80,/g, `, port: "${POST_PORT}-${STREAM_PORT}",`));
    const director = Actor.start('the director', this.lab.director, '../cli/main', 'run', '--config', file);
    this.#director = director;
    const probe = Actor.start('probe', this.lab.director, './fetch', `http://${METRICS}/-/ready`, '20');
    await Promise.race([probe.ended, director.fails(25)]);
    this.#route(this.lab.director);
    this.#way = egress;
  }

  /** From now on they go straight to the worker. */
  async withoutDirector(): Promise<void> {
    await this.#stopDirector();
    this.#route(this.lab.workers[0]);
  }

  #route({ address4, address6 }: { address4: string; address6: string }): void {
    const { router, vip4, vip6 } = this.lab;
    router.ip(`route replace ${vip4}/32 via ${address4}`, `route replace ${vip6}/128 via ${address6}`);
  }

  async #stopDirector(): Promise<void> {
    const director = this.#director;
    this.#director = null;
    this.#way = null;
    if (director === null) return;
    const code = await director.stop();
    if (code !== 0) throw new Error(`the director ended with ${code}: ${director.words}`);
  }

  /** Has the client carry out an order, and waits until its last connection is closed: a FIN that nobody hears is sent again later. */
  async perform(order: Order, seconds: number): Promise<LoadResult> {
    this.#orders++;
    this.#client.child.stdin!.write(`${JSON.stringify(order)}\n`);
    const lines = await this.#client.lines(1 + this.#orders, seconds);
    const deadline = performance.now() + CLOSING_MS;
    while ([this.lab.client, ...this.lab.workers].some(hasConnections)) {
      if (performance.now() > deadline) throw new Error('connections are still open');
      await sleep(20);
    }
    return JSON.parse(lines[this.#orders]) as LoadResult;
  }

  /** The director's counters: name with labels → value. */
  async metrics(): Promise<Map<string, number>> {
    const probe = Actor.start('metrics', this.lab.director, './fetch', `http://${METRICS}/metrics`, '5');
    if ((await probe.ended) !== 0) throw new Error(`no metrics: ${probe.words}`);
    const lines = probe.output.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
  }

  /** Ends the worker and returns its own account of itself. */
  async workerSummary(): Promise<string> {
    const code = await this.#worker.stop();
    if (code !== 0) throw new Error(`the worker ended with ${code}: ${this.#worker.words}`);
    return this.#worker.output.trimEnd().split('\n').at(-1) ?? '';
  }

  async close(): Promise<void> {
    try {
      await this.#stopDirector();
      await Promise.all(this.#actors.map((actor) => actor.stop()));
    } finally {
      this.lab.close();
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }
}
