// A lab with the real daemon, workers that unwrap, and `gue-director trace` beside a capture of the director's wire.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Actor } from '../../src/demo/cast.ts';
import { directorConfiguration, METRICS, TUNNEL_PORT, WEB_PORT } from '../../src/demo/configuration.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import type { TransferOrder, TransferResult } from '../../src/demo/transfer.ts';
import type { TracedPacket, TraceLine } from '../../src/trace/told.ts';

export interface Traced {
  readonly packets: readonly TracedPacket[];
  readonly ended: Extract<TraceLine, { kind: 'ended' }>;
  /** What left by the director's wire meanwhile: IP packets to the tunnel's port. */
  readonly wire: readonly Uint8Array[];
}

export class TraceStage {
  readonly lab: Lab;
  readonly folder: string;
  readonly #actors: Actor[] = [];
  #director: Actor | null = null;

  private constructor(lab: Lab) {
    this.lab = lab;
    this.folder = mkdtempSync(join(tmpdir(), 'gue-director-trace-'));
  }

  /** `egress`: YAML. Packets come merged from the client's link, and leave cut before the capture. On failure nothing is left. */
  static async open(egress: string | undefined, more: (yaml: string) => string = (yaml) => yaml): Promise<TraceStage> {
    const stage = new TraceStage(Lab.create({ workers: 2, offloads: 'all' }));
    try {
      const { lab } = stage;
      // The kernel then cuts trains and sums before its taps see them, as with a card without these offloads.
      lab.director.run('ethtool', ['-K', 'eth0', 'tx-udp-segmentation', 'off', 'tx', 'off']);
      const file = join(stage.folder, 'director.yaml');
      writeFileSync(file, more(directorConfiguration(lab, egress === undefined ? {} : { egress })));
      process.env.GUE_DIRECTOR_TEST_FAULT = '1';
      stage.#director = Actor.start('director', lab.director, '../cli/main', 'run', '--config', file);
      stage.#actors.push(
        ...lab.workers.map((worker) => Actor.start(worker.role, worker, '../cli/main', 'worker')),
        ...lab.workers.map((worker) => Actor.start(worker.role, worker, './web-server', worker.role, String(WEB_PORT))),
      );
      await Promise.all(stage.#actors.map((actor) => actor.says('ready')));
      const probe = Actor.start('probe', lab.director, './fetch', `http://${METRICS}/-/ready`, '20');
      await Promise.race([probe.ended, stage.director.fails(25)]);
      return stage;
    } catch (error) {
      await stage.close();
      throw error;
    }
  }

  get director(): Actor {
    return this.#director as Actor;
  }

  get socket(): string {
    return join(this.lab.director.runtimeDirectory, 'admin.sock');
  }

  /** `gue-director trace …`, once it traces. */
  async tracing(...args: string[]): Promise<Actor> {
    const actor = this.trace(...args);
    await actor.says('tracing ');
    return actor;
  }

  trace(...args: string[]): Actor {
    return Actor.start('trace', this.lab.director, '../cli/main', 'trace', '--socket', this.socket, ...args);
  }

  /** Traces with `filter` and whole packets while `work` is done, with a capture of the wire beside it. */
  async traced(filter: string, work: () => Promise<void>, ...args: string[]): Promise<Traced> {
    const file = join(this.folder, 'wire.pcap');
    // In immediate mode a slot of the ring is as long as the longest packet wanted: with the usual 256 KiB it would hold 32 packets, less than one train.
    const wanted = ['-i', 'eth0', '-n', '-U', '--immediate-mode', '-s', '2048', '-B', '32768', '-Z', 'root', '-w', file];
    const capture = Actor.command('tcpdump', this.lab.director, 'tcpdump', ...wanted, `udp dst port ${TUNNEL_PORT}`);
    await capture.says('listening on');
    const actor = await this.tracing('--json', '--snap', '65535', '--rate', '10000', '--count', '1000000', ...args, filter);
    await work();
    // What is on its way: main looks every 20 ms, tcpdump a little later.
    await new Promise((done) => setTimeout(done, 200));
    capture.child.kill('SIGINT');
    await capture.ended;
    if (!/\b0 packets dropped by kernel/.test(capture.words)) throw new Error(`the capture lost packets: ${capture.words}`);
    actor.child.kill('SIGINT');
    await actor.ended;
    const lines = actor.output.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as TraceLine]));
    const ended = lines.find((line) => line.kind === 'ended');
    if (ended === undefined) throw new Error(`the trace did not end: ${actor.words.slice(-2000)}`);
    return { packets: lines.filter((line) => line.kind === 'packet'), ended, wire: packetsOf(readFileSync(file)) };
  }

  /** One transfer; its hash is not looked at, that it completes is. */
  async transfer(kind: 'download' | 'upload', family: 4 | 6, bytes: number): Promise<void> {
    const address = family === 4 ? this.lab.vip4 : this.lab.vip6;
    const order: TransferOrder = { kind, address, port: WEB_PORT, bytes };
    const client = Actor.start('client', this.lab.client, './web-client');
    client.child.stdin!.end(`${JSON.stringify([order])}\n`);
    const [line] = await client.lines(1, 20);
    const { error } = JSON.parse(line) as TransferResult;
    if (error !== '') throw new Error(`${kind} over IPv${family}: ${error}`);
    await client.ended;
  }

  async close(): Promise<number | null> {
    try {
      const code = (await this.#director?.stop()) ?? null;
      await Promise.all(this.#actors.map((actor) => actor.stop()));
      return code;
    } finally {
      this.lab.close();
      rmSync(this.folder, { recursive: true, force: true });
    }
  }
}

/** IP packets of an Ethernet capture, link padding cut off. */
function packetsOf(bytes: Buffer): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (let at = 24; at + 16 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    packets.push(bytes.subarray(at + 16 + 14, at + 16 + length));
    at += 16 + length;
  }
  return packets;
}
