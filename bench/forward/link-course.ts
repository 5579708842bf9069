/**
 * The lab of the bench forward for drivers that write link headers: a veth pair for the director and one for its floor, both ends of them in the same two namespaces.
 * Frames come in by the pair and leave by it, to a worker that is nothing but a MAC address: no router, no bridge and no worker's kernel beside what is measured.
 *
 *     gd-<pid>-link-sender                     gd-<pid>-link-director
 *     +----------------------+                 +------------------------+
 *     | eth0     link-sender |─ to the VIP ──► | eth0    the director   |
 *     |    dropped, counted  | ◄── to the worker, 02:00:00:00:00:21 ──  |
 *     | eth1                 |─ the same ────► | eth1    its floor      |
 *     +----------------------+                 +------------------------+
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Actor } from '../../src/demo/cast.ts';
import { execute } from '../../src/demo/lab/command.ts';
import { Namespace } from '../../src/demo/lab/namespace.ts';
import { removeNamespaces } from '../../src/demo/lab/sweep.ts';
import { packetFilter, type ServiceMatch } from '../../src/io/packet/filter.ts';
import { XdpGate } from '../../src/io/xdp/gate.ts';
import { getLinkAddress } from '../../src/raw-socket/tun.ts';
import { Namespace as Inside } from '../../test/host/namespace.ts';
import { built } from '../../test/uml/director.ts';
import { buildLinkForwarding, COMPILER_HINT, type LinkPrograms } from '../floor/build.ts';
import { giveOwnProcessor, onTrafficProcessor, processorNow, threadTimes } from './processors.ts';

export type LinkDriver = 'packet' | 'xdp';
export type LinkContender = 'director' | 'floor';

const VIP = '10.80.9.1';
const WEB_PORT = 80;
const TUNNEL_PORT = 6080;
const METRICS = '127.0.0.1:6079';
const DIRECTOR = '10.80.1.10';
const WORKER = '10.80.1.21';
const WORKER_MAC = '02:00:00:00:00:21';
const MTU = 1600;
/** Of each contender; the floor writes addresses of its own choosing, its link has one so that the kernel treats both links alike. */
const LINKS = { director: { device: 'eth0', address: DIRECTOR }, floor: { device: 'eth1', address: '10.80.2.10' } } as const;
/** Bytes of the packets that warm a contender up, and seconds that a sender goes on longer than is measured. */
const WARM_BYTES = 128;
const MARGIN = 0.2;
/** Seconds in which at least one packet comes back while any is on its way: for one that limits, and on however busy a machine. */
const QUIET = 0.005;
const SETTLED = 0.3;
const PATIENCE = 5;
const TCP = 6;
const SERVICES: readonly ServiceMatch[] = [
  { prefix: { bytes: Uint8Array.from(VIP.split('.'), Number), length: 32 }, protocol: TCP, portFrom: WEB_PORT, portTo: WEB_PORT },
];

/** What a rate was sustained with. */
export interface LinkLoad {
  /** Packets a second that came back to the sender's link. */
  readonly rate: number;
  /** The same of those that were offered. */
  readonly offered: number;
  /** Seconds of the contender's processor time for each packet that came back, with what the kernel does on its back. */
  readonly processor: number;
  /** Seconds of processor time a second: at 1 the contender is what limits. */
  readonly busy: number;
}

function configuration(driver: LinkDriver): string {
  return `services:
  - { name: web, address: "${VIP}", protocol: tcp, port: ${WEB_PORT}, pool: web }
pools:
  web: { backends: [{ name: worker, address: "${WORKER}" }] }
tunnel: { port: ${TUNNEL_PORT}, source: { ipv4: "${DIRECTOR}" } }
ingress: { driver: ${driver}, interface: eth0 }
egress: { driver: ${driver}, interface: eth0 }
flows: { entries: 65536 }
metrics: { listen: "${METRICS}" }
log: { level: info, format: json }
`;
}

/** Packets that an interface of the calling thread's namespace has received. */
function receivedBy(device: string): number {
  const line = readFileSync('/proc/thread-self/net/dev', 'utf8')
    .split('\n')
    .find((one) => one.trim().startsWith(`${device}:`));
  return Number(line?.trim().split(/[:\s]+/)[2]);
}

export class LinkCourse {
  readonly #programs: LinkPrograms;
  readonly #sender: Namespace;
  readonly #director: Namespace;
  readonly #insideSender: Inside;
  readonly #insideDirector: Inside;
  readonly #folder = mkdtempSync(join(tmpdir(), 'gue-director-link-'));
  readonly #started = new Map<LinkContender, Actor>();
  #turn: LinkContender | null = null;
  #gate: XdpGate | null = null;

  private constructor(programs: LinkPrograms) {
    this.#programs = programs;
    const stem = `gd-${process.pid}-link`;
    this.#sender = new Namespace(`${stem}-sender`, 'sender', '', '');
    this.#director = new Namespace(`${stem}-director`, 'director', DIRECTOR, '');
    try {
      for (const { name } of [this.#sender, this.#director]) execute('ip', ['netns', 'add', name]);
      this.#director.ip(
        'link set lo up',
        ...Object.values(LINKS).flatMap(({ device, address }) => [
          `link add ${device} mtu ${MTU} type veth peer name ${device} mtu ${MTU} netns ${this.#sender.name}`,
          `link set ${device} up`,
          `addr add ${address}/24 dev ${device}`,
        ]),
        `neigh add ${WORKER} lladdr ${WORKER_MAC} dev ${LINKS.director.device} nud permanent`,
      );
      this.#sender.ip(...Object.values(LINKS).map(({ device }) => `link set ${device} up`));
      this.#insideSender = new Inside(`/run/netns/${this.#sender.name}`);
      this.#insideDirector = new Inside(`/run/netns/${this.#director.name}`);
    } catch (error) {
      removeNamespaces([this.#sender.name, this.#director.name]);
      throw error;
    }
  }

  /** Needs root, `ip` and a C compiler; says what to install. */
  static open(): LinkCourse {
    const programs = buildLinkForwarding();
    if (programs === null) throw new Error(`sender and floors are C programs; ${COMPILER_HINT}`);
    return new LinkCourse(programs);
  }

  /**
   * Starts a contender and warms it up with as many packets as it takes, for `warmUp` seconds. Its busiest thread then has a processor of its own. Now it is its
   * turn.
   */
  async start(contender: LinkContender, driver: LinkDriver, warmUp: number): Promise<void> {
    this.#rest();
    const actor = contender === 'director' ? await this.#startDirector(driver) : await this.#startFloor(driver);
    this.#started.set(contender, actor);
    this.#turn = contender;
    const before = threadTimes(this.pid);
    if (warmUp > 0) await this.load(WARM_BYTES, 0, warmUp);
    giveOwnProcessor(this.pid, before);
  }

  /** Whose turn it is, of those that were started. The other does not run at all meanwhile. */
  turn(contender: LinkContender): void {
    if (contender === this.#turn) return;
    this.#rest();
    this.#turn = contender;
    process.kill(this.pid, 'SIGCONT');
  }

  #rest(): void {
    if (this.#turn !== null) process.kill(this.pid, 'SIGSTOP');
    this.#turn = null;
  }

  async #startDirector(driver: LinkDriver): Promise<Actor> {
    const file = join(this.#folder, 'director.yaml');
    writeFileSync(file, configuration(driver));
    const actor = Actor.command('the director', this.#director, process.execPath, built('cli/main'), 'run', '--config', file);
    await actor.says('"event":"ready"');
    return actor;
  }

  /** Behind the same filter, or the same program with the same maps. The blackhole route that the director puts behind its services is behind both. */
  async #startFloor(driver: LinkDriver): Promise<Actor> {
    const { device } = LINKS.floor;
    const own = [device, DIRECTOR, WORKER, WORKER_MAC, String(TUNNEL_PORT)];
    if (driver === 'packet') {
      const { program } = packetFilter(SERVICES);
      const filter = program.map(({ code, jumpTrue, jumpFalse, k }) => `${code},${jumpTrue},${jumpFalse},${k}/`).join('');
      const actor = Actor.command('the floor', this.#director, this.#programs.packet, ...own, filter);
      await actor.says('ready');
      return actor;
    }
    const gate = this.#insideDirector.inside(() => new XdpGate({ device, services: SERVICES }));
    this.#gate = gate;
    const child = this.#director.spawn(this.#programs.xdp, own, { stdio: ['pipe', 'pipe', 'pipe', gate.end.sockets] });
    const actor = Actor.watch('the floor', child);
    await actor.says('ready');
    return actor;
  }

  /** Ends both contenders. */
  async stop(): Promise<void> {
    this.#turn = null;
    for (const actor of this.#started.values()) {
      actor.child.kill('SIGCONT');
      await actor.stop();
    }
    this.#started.clear();
    this.#gate?.close();
    this.#gate = null;
  }

  /** Of the contender whose turn it is. */
  get pid(): number {
    return this.#started.get(this.#turn!)!.child.pid!;
  }

  #startSender(bytes: number, seconds: number, count = 0): Actor {
    const { device } = LINKS[this.#turn!];
    const mac = this.#insideDirector.inside(() => getLinkAddress(device));
    const words = [device, [...mac].map((byte) => byte.toString(16)).join(':'), VIP, WEB_PORT, bytes, seconds, count].map(String);
    const [program, ...rest] = onTrafficProcessor([this.#programs.sender, ...words]);
    return Actor.command('the sender', this.#sender, program, ...rest);
  }

  /** As many packets as go through, `bytes` long at the sender's IP, after `lead` seconds of the same: everything is read while packets come. */
  async load(bytes: number, lead: number, seconds: number): Promise<LinkLoad> {
    const { device } = LINKS[this.#turn!];
    const sender = this.#startSender(bytes, lead + seconds + MARGIN);
    const look = () => ({
      ...processorNow(this.pid),
      threads: threadTimes(this.pid),
      arrived: this.#insideSender.inside(() => receivedBy(device)),
      offered: this.#insideDirector.inside(() => receivedBy(device)),
    });
    try {
      await sender.says('sending');
      await sleep(lead * 1000);
      const before = look();
      await sleep(seconds * 1000);
      const after = look();
      if ((await sender.ended) !== 0) throw new Error(`the sender failed: ${sender.words}`);
      const time = after.at - before.at;
      const arrived = after.arrived - before.arrived;
      if (!(arrived > 0)) throw new Error(`nothing came back of what the ${this.#turn} was sent`);
      const spent = after.threads.map(({ thread, seconds: total }) => {
        return total - (before.threads.find((one) => one.thread === thread)?.seconds ?? 0);
      });
      return {
        rate: arrived / time,
        offered: (after.offered - before.offered) / time,
        processor: (after.seconds - before.seconds) / arrived,
        busy: Math.max(...spent) / time,
      };
    } finally {
      await sender.stop();
    }
  }

  /**
   * Packets a second from full queues: `count` packets come while the contender is stopped, then it goes on, until nothing comes back any more. Nobody sends
   * meanwhile, so that it alone limits, in batches as large as it takes. What does not fit into its queue is lost.
   */
  async drain(bytes: number, count: number): Promise<number> {
    const { device } = LINKS[this.#turn!];
    const { pid } = this;
    const received = () => this.#insideSender.inside(() => receivedBy(device));
    for (let seen = -1, now = received(); seen !== now; now = received()) {
      seen = now;
      await sleep(QUIET * 1000);
    }
    process.kill(pid, 'SIGSTOP');
    const sender = this.#startSender(bytes, PATIENCE, count);
    if ((await sender.ended) !== 0) throw new Error(`the sender failed: ${sender.words}`);
    return this.#insideSender.inside(() => {
      const before = receivedBy(device);
      const begin = performance.now() / 1000;
      process.kill(pid, 'SIGCONT');
      let [got, last] = [0, begin];
      for (let now = begin; got < count && now < last + (got === 0 ? PATIENCE : SETTLED); ) {
        const more = receivedBy(device) - before;
        now = performance.now() / 1000;
        if (more === got) continue;
        [got, last] = [more, now];
      }
      if (got === 0) throw new Error(`nothing came back of what waited for the ${this.#turn}`);
      return got / (last - begin);
    });
  }

  /** Kilobytes of the contender's memory that are present (VmRSS). */
  residentKilobytes(): number {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1]);
  }

  async close(): Promise<void> {
    try {
      await this.stop();
    } finally {
      this.#insideSender.close();
      this.#insideDirector.close();
      removeNamespaces([this.#sender.name, this.#director.name]);
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }
}
