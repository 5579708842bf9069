// A lab whose clients fragment their datagrams by hand (fragments.py): three workers that say who they are, the real daemon in front.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Lab, VIP4, VIP6 } from '../../src/demo/lab/topology.ts';
import { built, RunningDirector, runIn } from '../uml/director.ts';
import { Program } from './program.ts';

const SCRIPT = join(import.meta.dirname, 'fragments.py');
export const PORT = 7000;
const WORKERS = 3;
/** More source addresses of the client, in each family: what is hashed by addresses alone has several to tell apart. */
const SOURCES = 8;
/** Room in the workers' kernels for packets that never end; the default is full after a few thousand, and then nothing is put together. */
const REASSEMBLY = { bytes: 512 << 20, seconds: 2 };

export interface ClientOptions {
  readonly family: 4 | 6;
  readonly flows: number;
  readonly datagrams: number;
  /** Of each datagram, UDP payload. */
  readonly bytes: number;
  /** Datagrams that are under way at a time. */
  readonly window: number;
  /** Bogus fragments among those of each window. */
  readonly bogus: number;
  readonly seed: number;
  /** IPv6: later fragments name another next header, by which the kernel puts them into another queue. */
  readonly spread: boolean;
  /** Source addresses of the client, 1–8; default all. */
  readonly sources?: number;
  /** Number of the first datagram: fragments of two runs must not have the same identifications. Default 0. */
  readonly firstNumber?: number;
  /** Workers of the flows, as an earlier run saw them; absent: a whole datagram of each asks. */
  readonly owners?: readonly (string | null)[];
}

export interface Seen {
  readonly datagrams: number;
  readonly fragments: number;
  readonly bogus: number;
  readonly lost: number;
  readonly missteered: number;
  readonly corrupt: number;
  /** Answers that nobody waits for. */
  readonly strangers: number;
  /** Whole datagrams, sent first, that got no answer. */
  readonly unanswered: number;
  /** Answers by worker. */
  readonly workers: Readonly<Record<string, number>>;
  /** Worker of each flow. */
  readonly owners: readonly (string | null)[];
  readonly seconds: number;
}

export interface ThreadStatus {
  readonly number: number;
  readonly received: number;
}

export class FragmentStage {
  readonly lab: Lab;
  readonly director: RunningDirector;
  readonly #programs: readonly Program[];

  private constructor(lab: Lab, director: RunningDirector, programs: readonly Program[]) {
    this.lab = lab;
    this.director = director;
    this.#programs = programs;
  }

  /** `more`: further sections of the configuration, YAML. */
  static async open(more: string): Promise<FragmentStage> {
    const lab = Lab.create({ workers: WORKERS });
    const programs: Program[] = [];
    try {
      const sources = Array.from({ length: SOURCES }, (_, k) => k);
      lab.client.ip(
        ...sources.flatMap((k) => [`addr add 10.80.0.${100 + k}/24 dev eth0`, `addr add fd80::${100 + k}/64 dev eth0 nodad`]),
      );
      for (const worker of lab.workers) {
        worker.sysctl({
          'net.ipv4.ipfrag_high_thresh': REASSEMBLY.bytes,
          'net.ipv4.ipfrag_time': REASSEMBLY.seconds,
          'net.ipv6.ip6frag_high_thresh': REASSEMBLY.bytes,
          'net.ipv6.ip6frag_time': REASSEMBLY.seconds,
        });
      }
      const started = await Promise.allSettled(
        lab.workers.flatMap((worker) => [
          Program.start(worker, process.execPath, [built('cli/main'), 'worker'], 'ready'),
          Program.start(worker, 'python3', [SCRIPT, 'server', worker.role, String(PORT), VIP4, VIP6], 'ready'),
        ]),
      );
      for (const one of started) if (one.status === 'fulfilled') programs.push(one.value);
      for (const one of started) if (one.status === 'rejected') throw one.reason;
      const director = await RunningDirector.start(lab.director, configuration(lab, more));
      return new FragmentStage(lab, director, programs);
    } catch (error) {
      await Promise.all(programs.map((program) => program.stop()));
      lab.close();
      throw error;
    }
  }

  async client(options: ClientOptions): Promise<Seen> {
    const sources = Array.from({ length: options.sources ?? SOURCES }, (_, k) =>
      options.family === 4 ? `10.80.0.${100 + k}` : `fd80::${100 + k}`,
    );
    const all = { ...options, port: PORT, target: options.family === 4 ? VIP4 : VIP6, sources, firstPort: 20_000 };
    return JSON.parse(await runIn(this.lab.client, 'python3', [SCRIPT, 'client', JSON.stringify(all)])) as Seen;
  }

  async flood(family: 4 | 6, packets: number, seed: number): Promise<void> {
    const options = { family, packets, seed, port: PORT, target: family === 4 ? VIP4 : VIP6 };
    await runIn(this.lab.client, 'python3', [SCRIPT, 'flood', JSON.stringify(options)]);
  }

  /** The director's metrics, by name with labels. */
  async counters(): Promise<Map<string, number>> {
    const lines = (await this.director.metrics()).split('\n').filter((line) => line.startsWith('gue_director_'));
    return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
  }

  /** Packets that each thread has received. */
  async threads(): Promise<readonly ThreadStatus[]> {
    const text = await runIn(this.lab.director, process.execPath, [built('demo/fetch'), 'http://127.0.0.1:6079/-/status', '5']);
    return (JSON.parse(text) as { threads: ThreadStatus[] }).threads;
  }

  /** Resident memory of the director, in MiB. */
  memory(): number {
    const status = readFileSync(`/proc/${this.director.pid}/status`, 'utf8');
    return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024);
  }

  async close(): Promise<number | null> {
    try {
      const code = await this.director.stop();
      await Promise.all(this.#programs.map((program) => program.stop()));
      return code;
    } finally {
      this.lab.close();
    }
  }
}

function configuration(lab: Lab, more: string): string {
  const backends = (family: 4 | 6) =>
    lab.workers
      .map((worker) => `{ name: ${worker.role}, address: "${family === 4 ? worker.address4 : worker.address6}" }`)
      .join(', ');
  return [
    'services:',
    `  - { name: udp-4, address: "${VIP4}", protocol: udp, port: ${PORT}, pool: pool-4 }`,
    `  - { name: udp-6, address: "${VIP6}", protocol: udp, port: ${PORT}, pool: pool-6 }`,
    'pools:',
    `  pool-4: { backends: [${backends(4)}] }`,
    `  pool-6: { backends: [${backends(6)}] }`,
    `tunnel: { port: 6080, source: { ipv4: "${lab.director.address4}", ipv6: "${lab.director.address6}" } }`,
    'egress: { driver: raw }',
    'log: { format: text }',
    more,
    '',
  ].join('\n');
}

/** What is wrong with what a client saw: every datagram must be answered once, by its flow's worker, and byte for byte. */
export function complaintsOf(about: string, seen: Seen, wanted: number): string[] {
  const wrong: string[] = [];
  if (seen.datagrams !== wanted) wrong.push(`${about}: ${seen.datagrams} of ${wanted} datagrams sent`);
  for (const word of ['lost', 'missteered', 'corrupt', 'strangers', 'unanswered'] as const) {
    if (seen[word] !== 0) wrong.push(`${about}: ${seen[word]} ${word}`);
  }
  if (Object.keys(seen.workers).length !== WORKERS) wrong.push(`${about}: answered by ${Object.keys(seen.workers).join(', ')}`);
  return wrong;
}

/** `5,000 datagrams in 15,000 fragments in 4.2 s: 0 lost …`. */
export function seenText(seen: Seen): string {
  const { datagrams, fragments, bogus, lost, missteered, corrupt, seconds, workers } = seen;
  const shares = Object.entries(workers)
    .sort()
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
  const among = bogus === 0 ? '' : ` among ${bogus} bogus ones`;
  return `${datagrams} datagrams in ${fragments} fragments${among}, ${seconds} s: ${lost} lost, ${missteered} mis-steered, ${corrupt} corrupt; ${shares}`;
}
