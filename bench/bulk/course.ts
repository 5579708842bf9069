// The course that every contender runs: one lab, one worker, one kind of upload.

import { Actor, lastLines } from '../../src/demo/cast.ts';
import { TUNNEL_PORT, WEB_PORT } from '../../src/demo/configuration.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { built } from '../../test/uml/director.ts';
import type { FloorPrograms } from '../floor/build.ts';
import { type Contender, DEVICE } from './contenders.ts';
import { countDrops, type Drops, newDrops, processorSeconds } from './measure.ts';
import { type Transfer, upload } from './traffic.ts';

export interface Run extends Transfer {
  /** Seconds of processor time of the contender's process while it was measured; null for the kernel alone. */
  readonly processor: number | null;
  readonly drops: Drops;
  /** Packets of the service that the contender itself dropped, as its own counters say. */
  readonly refused: number;
}

export interface Length {
  /** Measured. */
  readonly seconds: number;
  /** Before that, not measured: connections, caches, compilers. 0 for none. */
  readonly warmUp: number;
  readonly streams: number;
}

const WORKER_DEVICE = 'gw0';

export class Course {
  readonly #lab: Lab;
  readonly #worker: Actor;

  private constructor(lab: Lab, worker: Actor) {
    this.#lab = lab;
    this.#worker = worker;
  }

  /** Builds the lab and starts the worker: bench/floor/decapsulate.c, or the project's own, which verifies every checksum. */
  static async open(programs: FloorPrograms | null): Promise<Course> {
    const lab = Lab.create({ workers: 1 });
    try {
      const [host] = lab.workers;
      const port = String(TUNNEL_PORT);
      const own = [process.execPath, built('cli/main'), 'worker', '--port', port, '--device', WORKER_DEVICE] as const;
      const [command, ...args] = programs === null ? own : [programs.decapsulate, WORKER_DEVICE, port];
      const worker = Actor.command('the worker', host, command, ...args);
      await worker.says('ready');
      host.ip(`link set ${WORKER_DEVICE} up`);
      return new Course(lab, worker);
    } catch (error) {
      lab.close();
      throw error;
    }
  }

  /** Starts a contender, warms it up, measures one upload, stops it. */
  async run(contender: Contender, { seconds, warmUp, streams }: Length): Promise<Run> {
    const lab = this.#lab;
    const [server] = lab.workers;
    const order = { client: lab.client, server, address: lab.vip4, port: WEB_PORT, streams };
    const running = await contender.start(lab);
    try {
      if (warmUp > 0) await upload({ ...order, seconds: warmUp });
      const { pid } = running;
      const before = countDrops(lab.namespaces, server, DEVICE);
      const spent = pid === null ? 0 : processorSeconds(pid);
      const transfer = await upload({ ...order, seconds });
      const processor = pid === null ? null : processorSeconds(pid) - spent;
      const drops = newDrops(before, countDrops(lab.namespaces, server, DEVICE));
      return { ...transfer, processor, drops, refused: await running.drops() };
    } finally {
      await running.stop();
    }
  }

  /** What the worker said last: the project's own sums up what it refused. */
  get lastWords(): string {
    return lastLines(this.#worker.words, 1);
  }

  async close(): Promise<void> {
    try {
      await this.#worker.stop();
    } finally {
      this.#lab.close();
    }
  }
}
