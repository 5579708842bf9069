// One lab for the benches forward and latency: a sender at the client, a contender that forwards (the director or its floor in C), a receiver at the worker.

import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { Actor } from '../../src/demo/cast.ts';
import { TUNNEL_PORT, WEB_PORT } from '../../src/demo/configuration.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { findCommand } from '../../test/needs.ts';
import { type Contender, DEVICE, director, keepUntracked, QUEUE_LENGTH, type Running } from '../bulk/contenders.ts';
import { processorSeconds } from '../bulk/measure.ts';
import { buildForwarding, COMPILER_HINT } from '../floor/build.ts';

type Programs = NonNullable<ReturnType<typeof buildForwarding>>;

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
}

/** What takes part, both with ingress `tun` and egress `raw`: the director, and the C program with the same system calls. */
export function contenders(programs: Programs, threads: number): readonly [Contender, Contender] {
  // The value ends its line, so that what follows is a key of its own.
  const ours = director('director', `{ driver: raw }\nthreads: ${threads}`);
  const floor: Contender = {
    name: 'floor in C',
    async start(lab) {
      const own = [DEVICE, lab.director.address4, lab.workers[0].address4, String(TUNNEL_PORT), String(threads)];
      const actor = Actor.command('the floor', lab.director, programs.forward, ...own);
      await actor.says('ready');
      keepUntracked(lab);
      lab.director.ip(`link set ${DEVICE} mtu 65535 txqueuelen ${QUEUE_LENGTH} up`, `route add ${lab.vip4} dev ${DEVICE}`);
      return {
        pid: actor.child.pid!,
        drops: () => Promise.resolve(0),
        async stop() {
          await actor.stop();
          if (findCommand('nft') !== null) lab.director.run('nft', ['delete', 'table', 'inet', 'floor']);
        },
      };
    },
  };
  return [ours, floor];
}

/** Processors for the traffic and for a contender of one thread, so that neither takes the other's; null on a machine with one, or without taskset. */
const PLACES = cpus().length >= 2 && findCommand('taskset') !== null ? { traffic: '0', contender: '1' } : null;

export class Course {
  readonly #lab: Lab;
  readonly programs: Programs;
  #running: Running | null = null;

  private constructor(lab: Lab, programs: Programs) {
    this.#lab = lab;
    this.programs = programs;
  }

  /** Needs root, `ip` and a C compiler; says what to install. */
  static open(): Course {
    const programs = buildForwarding();
    if (programs === null) throw new Error(`sender, receiver and floor are C programs; ${COMPILER_HINT}`);
    return new Course(Lab.create({ workers: 1 }), programs);
  }

  /** Starts a contender; `threads`: with one, it has a processor of its own. */
  async start(contender: Contender, threads: number): Promise<void> {
    const running = await contender.start(this.#lab);
    this.#running = running;
    if (PLACES !== null && threads === 1) {
      execFileSync('taskset', ['-acp', PLACES.contender, String(running.pid)], { stdio: 'ignore' });
    }
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
    this.#running = null;
  }

  /** `bytes`: of the client's IP packets. `rate`: a second; 0 for as many as it can. */
  async #send(bytes: number, rate: number, seconds: number): Promise<number> {
    const { client, vip4 } = this.#lab;
    const words = ['send', client.address4, vip4, WEB_PORT, bytes, rate, seconds].map(String);
    const sender = this.#traffic('the sender', client, words);
    if ((await sender.ended) !== 0) throw new Error(`the sender failed: ${sender.words}`);
    return Number(sender.output);
  }

  #traffic(name: string, where: Lab['client'], words: readonly string[]): Actor {
    const command = [this.programs.traffic, ...words];
    const [program, ...rest] = PLACES === null ? command : ['taskset', '-c', PLACES.traffic, ...command];
    return Actor.command(name, where, program, ...rest);
  }

  #received(): number {
    return Number(this.#lab.workers[0].run('cat', ['/sys/class/net/eth0/statistics/rx_packets']));
  }

  /** As many packets as go through, after `warmUp` seconds of the same. */
  async load(bytes: number, warmUp: number, seconds: number): Promise<Load> {
    const receiver = this.#traffic('the receiver', this.#lab.workers[0], ['refuse', String(TUNNEL_PORT)]);
    const running = this.#running!;
    try {
      await receiver.says('ready');
      await this.#send(bytes, 0, warmUp);
      const [packets, spent] = [this.#received(), processorSeconds(running.pid!)];
      await this.#send(bytes, 0, seconds);
      const arrived = this.#received() - packets;
      return {
        rate: arrived / seconds,
        processor: (processorSeconds(running.pid!) - spent) / arrived,
      };
    } finally {
      await receiver.stop();
    }
  }

  /** The delay at `rate` packets a second, after `warmUp` seconds of the same. */
  async delay(bytes: number, rate: number, warmUp: number, seconds: number): Promise<Delay & { readonly lost: number }> {
    const receiver = this.#traffic('the receiver', this.#lab.workers[0], ['receive', String(TUNNEL_PORT)]);
    const said = async (lines: number) => {
      receiver.child.stdin!.write('\n');
      return (await receiver.lines(lines, 5)).at(-1)!.split(' ').map(Number);
    };
    try {
      await receiver.says('ready');
      // The last ones are on their way when the sender ends.
      const settle = () => new Promise((resolve) => setTimeout(resolve, 100));
      await this.#send(bytes, rate, warmUp);
      await settle();
      await said(2);
      const sent = await this.#send(bytes, rate, seconds);
      await settle();
      const [packets, p50, p99, p999] = await said(3);
      return { packets, p50, p99, p999, lost: sent - packets };
    } finally {
      await receiver.stop();
    }
  }

  async close(): Promise<void> {
    try {
      await this.stop();
    } finally {
      this.#lab.close();
    }
  }
}
