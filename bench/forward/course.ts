// One lab for the benches forward and latency: a sender at the client, contenders that forward (the director, its floor in C), a receiver at the worker.

import { setTimeout as sleep } from 'node:timers/promises';
import { Actor } from '../../src/demo/cast.ts';
import { TUNNEL_PORT, WEB_PORT } from '../../src/demo/configuration.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import type { Contender, Running } from '../bulk/contenders.ts';
import { buildForwarding, COMPILER_HINT } from '../floor/build.ts';
import type { Programs } from './contenders.ts';
import { giveOwnProcessor, onTrafficProcessor, processorNow, threadTimes } from './processors.ts';

/** What a rate was sustained with. */
export interface Load {
  /** Packets that arrived at the worker, a second. */
  readonly rate: number;
  /** Seconds of the contender's processor time for each packet that arrived. */
  readonly processor: number;
}

/** How long packets took from the client's system call to the worker's, nanoseconds. */
export interface Delay {
  readonly packets: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly longest: number;
  /** Sent and not received; those before the measurement included. */
  readonly lost: number;
}

/** Seconds: how much longer than measured a sender goes on, and how long its last packets are waited for. */
const MARGIN = 0.3;
const SETTLING = 0.1;
/** Seconds in which at least one packet of a full queue leaves, on however busy a machine. */
const DRAINING = 0.03;
/** Of the packets that warm a contender up. */
const WARM_BYTES = 128;

interface Started {
  readonly running: Running;
  readonly pid: number;
}

export class Course {
  readonly lab: Lab;
  readonly programs: Programs;
  readonly #started = new Map<Contender, Started>();
  #turn: Contender | null = null;

  private constructor(lab: Lab, programs: Programs) {
    this.lab = lab;
    this.programs = programs;
  }

  /** Needs root, `ip` and a C compiler; says what to install. */
  static open(): Course {
    const programs = buildForwarding();
    if (programs === null) throw new Error(`sender, receiver and floor are C programs; ${COMPILER_HINT}`);
    return new Course(Lab.create({ workers: 1 }), programs);
  }

  /**
   * Starts a contender and warms it up with as many packets as it takes, for `warmUp` seconds. Now it is its turn. With one thread that thread, the busiest one, then
   * has a processor for itself; what else the process has (main, compiler, collector) shares the other one with the traffic.
   */
  async start(contender: Contender, threads: number, warmUp: number): Promise<Running> {
    this.#rest();
    const running = await contender.start(this.lab);
    const pid = running.pid!;
    this.#started.set(contender, { running, pid });
    this.#turn = contender;
    const before = threadTimes(pid);
    if (warmUp > 0) await this.load(WARM_BYTES, 0, warmUp);
    if (threads === 1) giveOwnProcessor(pid, before, true);
    return running;
  }

  /** Whose turn it is, of those that were started. The others do not run at all meanwhile. */
  turn(contender: Contender): void {
    if (contender === this.#turn) return;
    this.#rest();
    process.kill(this.#started.get(contender)!.pid, 'SIGCONT');
    this.#turn = contender;
  }

  #rest(): void {
    if (this.#turn !== null) process.kill(this.#started.get(this.#turn)!.pid, 'SIGSTOP');
    this.#turn = null;
  }

  /** Ends all contenders. */
  async stop(): Promise<void> {
    this.#turn = null;
    for (const [contender, { running, pid }] of [...this.#started]) {
      this.#started.delete(contender);
      process.kill(pid, 'SIGCONT');
      await running.stop();
    }
  }

  get #pid(): number {
    return this.#started.get(this.#turn!)!.pid;
  }

  /** `bytes`: of the client's IP packets. `rate`: a second; 0 for as many as it can. */
  #sender(bytes: number, rate: number, seconds: number): Actor {
    const { client, vip4 } = this.lab;
    const words = ['send', client.address4, this.#turn!.service ?? vip4, WEB_PORT, bytes, rate, seconds].map(String);
    return this.#traffic('the sender', client, words);
  }

  #traffic(name: string, where: Lab['client'], words: readonly string[]): Actor {
    const [program, ...rest] = onTrafficProcessor([this.programs.traffic, ...words]);
    return Actor.command(name, where, program, ...rest);
  }

  /** A receiver at the worker, and what asks it for a line of numbers. */
  async #receiver(how: 'refuse' | 'receive'): Promise<{ ask: () => Promise<number[]>; stop: () => Promise<unknown> }> {
    const receiver = this.#traffic('the receiver', this.lab.workers[0], [how, String(TUNNEL_PORT)]);
    await receiver.says('ready');
    let lines = 1;
    return {
      async ask() {
        receiver.child.stdin!.write('\n');
        lines++;
        return (await receiver.lines(lines, 10)).at(-1)!.split(' ').map(Number);
      },
      stop: () => receiver.stop(),
    };
  }

  /** As many packets as go through, after `warmUp` seconds of the same: both times are read while packets come. */
  async load(bytes: number, warmUp: number, seconds: number): Promise<Load> {
    const receiver = await this.#receiver('refuse');
    const sender = this.#sender(bytes, 0, warmUp + seconds + MARGIN);
    const look = async () => ({ processor: processorNow(this.#pid), arrived: await receiver.ask() });
    try {
      await sender.says('sending');
      await sleep(warmUp * 1000);
      const before = await look();
      await sleep(seconds * 1000);
      const after = await look();
      const rate = (after.arrived[1] - before.arrived[1]) / ((after.arrived[0] - before.arrived[0]) / 1e9);
      if (!(rate > 0)) throw new Error(`nothing arrived of what ${this.#turn!.name} was sent; the sender: ${sender.words}`);
      const share = (after.processor.seconds - before.processor.seconds) / (after.processor.at - before.processor.at);
      await sender.stop();
      // What still waits in the queue is not the next one's.
      for (let seen = -1, now = after.arrived[1]; seen !== now; ) {
        seen = now;
        await sleep(DRAINING * 1000);
        now = (await receiver.ask())[1];
      }
      return { rate, processor: share / rate };
    } finally {
      await sender.stop();
      await receiver.stop();
    }
  }

  /** The delay at `rate` packets a second, after `warmUp` seconds of the same. */
  async delay(bytes: number, rate: number, warmUp: number, seconds: number): Promise<Delay> {
    const receiver = await this.#receiver('receive');
    const sender = this.#sender(bytes, rate, warmUp + seconds);
    try {
      await sender.says('sending');
      await sleep(warmUp * 1000);
      const [before] = await receiver.ask();
      if ((await sender.ended) !== 0) throw new Error(`the sender failed: ${sender.words}`);
      await sleep(SETTLING * 1000);
      const [packets, p50, p99, p999, longest] = await receiver.ask();
      return { packets, p50, p99, p999, longest, lost: Number(sender.output) - before - packets };
    } finally {
      await sender.stop();
      await receiver.stop();
    }
  }

  async close(): Promise<void> {
    try {
      await this.stop();
    } finally {
      this.lab.close();
    }
  }
}
