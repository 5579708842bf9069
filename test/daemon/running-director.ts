// The real daemon in the lab's director namespace, and what a test asks of it.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Actor } from '../../src/demo/cast.ts';
import { Lab, type LabOptions } from '../../src/demo/lab/topology.ts';

export const METRICS_PORT = 6079;
export const TUNNEL_PORT = 6080;

/** `offloads: 'none'`: captures hold complete checksums, as a wire would (a veth leaves them to nobody). */
export function buildLab(t: TestContext, workers: number, options: Omit<LabOptions, 'workers'> = {}): Lab {
  const lab = Lab.create({ workers, ...options });
  t.after(() => lab.close());
  return lab;
}

export interface ConfigurationOptions {
  readonly threads?: number;
  /** YAML of the ingress and egress sections' values. */
  readonly ingress?: string;
  readonly egress?: string;
}

/** Two services (UDP port 53 on the IPv4 and the IPv6 VIP), one pool of all workers for each outer family. */
export function configuration(lab: Lab, options: ConfigurationOptions = {}): string {
  const { threads = 1, ingress = '{ driver: tun, device: gd0 }', egress = '{ driver: raw }' } = options;
  const backends = (address: (worker: Lab['workers'][number]) => string) =>
    lab.workers.map((worker) => `      - { name: ${worker.role}, address: "${address(worker)}" }`).join('\n');
  return `services:
  - { name: dns-4, address: "${lab.vip4}", protocol: udp, port: 53, pool: over-6 }
  - { name: dns-6, address: "${lab.vip6}", protocol: udp, port: 53, pool: over-4 }
pools:
  over-4:
    table-size: 251
    backends:
${backends((worker) => worker.address4)}
  over-6:
    table-size: 251
    backends:
${backends((worker) => worker.address6)}
tunnel:
  port: ${TUNNEL_PORT}
  source: { ipv4: "${lab.director.address4}", ipv6: "${lab.director.address6}" }
ingress: ${ingress}
egress: ${egress}
threads: ${threads}
flows: { entries: 4096 }
metrics: { listen: "127.0.0.1:${METRICS_PORT}" }
log: { level: info, format: json }
`;
}

export interface LogEntry {
  readonly level: string;
  readonly msg: string;
  readonly event?: string;
  readonly stack?: string;
  readonly [field: string]: unknown;
}

export class RunningDirector {
  readonly lab: Lab;
  readonly actor: Actor;
  /** Its configuration. */
  readonly file: string;

  private constructor(lab: Lab, actor: Actor, file: string) {
    this.lab = lab;
    this.actor = actor;
    this.file = file;
  }

  /** Starts `gue-director run`; resolves when it says that it is ready. */
  static async start(t: TestContext, lab: Lab, yaml: string): Promise<RunningDirector> {
    const director = RunningDirector.launch(t, lab, yaml);
    await director.event('ready');
    return director;
  }

  /** Another one with the file of `this`, as it is now. */
  async startAgain(t: TestContext): Promise<RunningDirector> {
    const actor = Actor.start('director', this.lab.director, '../cli/main', 'run', '--config', this.file);
    t.after(() => actor.child.kill('SIGKILL'));
    const again = new RunningDirector(this.lab, actor, this.file);
    await again.event('ready');
    return again;
  }

  static launch(t: TestContext, lab: Lab, yaml: string): RunningDirector {
    const folder = mkdtempSync(join(tmpdir(), 'gue-director-daemon-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'director.yaml');
    writeFileSync(file, yaml);
    process.env.GUE_DIRECTOR_TEST_FAULT = '1';
    const actor = Actor.start('director', lab.director, '../cli/main', 'run', '--config', file);
    t.after(() => actor.child.kill('SIGKILL'));
    return new RunningDirector(lab, actor, file);
  }

  get log(): LogEntry[] {
    return this.actor.words
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as LogEntry);
  }

  entries(event: string): LogEntry[] {
    return this.log.filter((entry) => entry.event === event);
  }

  /** Waits until the log has `count` entries of this event; returns the last. */
  async event(event: string, count = 1): Promise<LogEntry> {
    await Promise.race([
      eventually(() => this.entries(event).length >= count, `${count} × ${event} in the log`, 30_000),
      this.actor.ended.then((code) => Promise.reject(new Error(`the director ended with ${code}:\n${this.actor.words}`))),
    ]);
    return this.entries(event)[count - 1];
  }

  /** Asks over HTTP from inside the director's namespace. */
  get(path: string): { status: number; body: string } {
    const script = `fetch('http://127.0.0.1:${METRICS_PORT}${path}').then(async (r) => process.stdout.write(r.status + ' ' + await r.text()))`;
    const text = this.lab.director.run(process.execPath, ['-e', script]);
    return { status: Number(text.slice(0, 3)), body: text.slice(4) };
  }

  /** Samples of /metrics: name with labels → value. */
  metrics(): Map<string, number> {
    const lines = this.get('/metrics')
      .body.split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
  }

  metric(name: string): number {
    const value = this.metrics().get(`gue_director_${name}`);
    if (value === undefined) throw new Error(`no metric gue_director_${name}`);
    return value;
  }
}

/** Sends UDP datagrams from the client, one socket (flow) for each, `rounds` from every socket. */
export function sendDatagrams(lab: Lab, address: string, port: number, flows: number, rounds: number, bytes = 64): void {
  const script = `
    const dgram = require('node:dgram');
    let open = ${flows};
    for (let flow = 0; flow < ${flows}; flow++) {
      const socket = dgram.createSocket('${address.includes(':') ? 'udp6' : 'udp4'}');
      let left = ${rounds};
      const next = (error) => {
        if (error) throw error;
        if (left-- === 0) socket.close();
        else socket.send(Buffer.alloc(${bytes}, flow), ${port}, '${address}', next);
      };
      next(null);
    }`;
  lab.client.run(process.execPath, ['-e', script]);
}

/** IP packets of an Ethernet capture, link padding cut off. */
export function readPackets(file: string): Uint8Array[] {
  const bytes = readFileSync(file);
  const packets: Uint8Array[] = [];
  for (let at = 24; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    packets.push(bytes.subarray(at + 16 + 14, at + 16 + length));
    at += 16 + length;
  }
  return packets;
}

export async function eventually(condition: () => boolean, what: string, patience = 5000): Promise<void> {
  const deadline = Date.now() + patience;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
