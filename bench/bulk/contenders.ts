// What can stand between client and worker. Each is started in the director's namespace, warmed up, measured and stopped, in turn.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Actor, lastLines } from '../../src/demo/cast.ts';
import { directorConfiguration, METRICS, TUNNEL_PORT, WEB_PORT } from '../../src/demo/configuration.ts';
import type { Lab } from '../../src/demo/lab/topology.ts';
import { findCommand } from '../../test/needs.ts';
import { built } from '../../test/uml/director.ts';
import type { FloorPrograms } from '../floor/build.ts';

/** A contender that runs. */
export interface Running {
  /** The process whose processor time is told; null for the kernel alone. */
  readonly pid: number | null;
  /** The file that its configuration is in, of those that have one. */
  readonly file?: string;
  /** Configurations that it has taken over since its start, likewise. */
  reloads?(): Promise<number>;
  /** Packets that it dropped since it runs and that were meant for the service; 0 for those that do not count. */
  drops(): Promise<number>;
  stop(): Promise<void>;
}

export interface Contender {
  readonly name: string;
  /** The virtual IP whose packets it forwards. Absent: the lab's. */
  readonly service?: string;
  start(lab: Lab): Promise<Running>;
}

/** TUN device of the director and of its floor. */
export const DEVICE = 'gd0';
/** As the director sets them up (host/ownership.ts). */
export const QUEUE_LENGTH = 10000;
const DEVICE_MTU = 65535;

/** What a lab's links carry besides the upload: neighbour discovery, multicast. */
const NOT_OURS = ['not-a-service', 'not-ip', 'wrong-host', 'icmp-not-steered'];

/** Sum of `gue_director_dropped_packets_total{reason="…"} n` over the reasons that a packet of a service can have. */
function droppedPackets(metrics: string): number {
  let sum = 0;
  let reasons = 0;
  for (const [, reason, count] of metrics.matchAll(/^gue_director_dropped_packets_total\{reason="([^"]+)"\} (\d+)/gm)) {
    reasons++;
    if (!NOT_OURS.includes(reason)) sum += Number(count);
  }
  // Every reason is always there: without any, zero would be no answer.
  if (reasons === 0) throw new Error('the director’s metrics name no drop reason');
  return sum;
}

const nothing = () => Promise.resolve(0);

/** The director itself, with an egress as its configuration would name it; or with another configuration, YAML text. */
export function director(
  name: string,
  egress: string,
  configured = (lab: Lab) => directorConfiguration(lab, { egress }),
): Contender {
  return {
    name,
    async start(lab) {
      const folder = mkdtempSync(join(tmpdir(), 'gue-director-bulk-'));
      const file = join(folder, 'director.yaml');
      writeFileSync(file, configured(lab));
      const node = (...args: string[]) => Actor.command('the director', lab.director, process.execPath, ...args);
      const actor = node(built('cli/main'), 'run', '--config', file);
      const ask = async (path: string, seconds: number) => {
        const asking = node(built('demo/fetch'), `http://${METRICS}${path}`, String(seconds));
        const code = await Promise.race([asking.ended, actor.fails(seconds + 5)]);
        if (code !== 0) throw new Error(`the director does not answer: ${lastLines(actor.words, 5)}`);
        return asking.output;
      };
      await ask('/-/ready', 20);
      return {
        pid: actor.child.pid!,
        file,
        drops: async () => droppedPackets(await ask('/metrics', 5)),
        reloads: async () =>
          Number(/^gue_director_config_reloads_total\{result="success"\} (\d+)/m.exec(await ask('/metrics', 5))?.[1] ?? 0),
        async stop() {
          await actor.stop();
          rmSync(folder, { recursive: true, force: true });
        },
      };
    },
  };
}

/** Takes the service and its tunnels out of connection tracking, as the director does (host/notrack.ts): the same hooks see the same packets. */
export function keepUntracked(lab: Lab, vip4: string = lab.vip4): void {
  if (findCommand('nft') === null) return;
  const service = (side: string) => [`ip ${side} { ${vip4} } notrack`, `ip6 ${side} { ${lab.vip6} } notrack`];
  const tunnels = `udp dport { ${TUNNEL_PORT} } notrack`;
  const chain = (hook: string, rules: string[]) =>
    `chain ${hook} { type filter hook ${hook} priority raw; policy accept; ${rules.join('; ')}; }`;
  const before = chain('prerouting', [...service('daddr'), ...service('saddr'), tunnels]);
  const out = chain('output', [...service('saddr'), tunnels]);
  lab.director.run('nft', ['-f', '-'], `table inet floor {\n${before}\n${out}\n}\n`);
}

/** The C program of bench/floor/encapsulate.c in the director's place. */
export function floor(programs: FloorPrograms): Contender {
  return {
    name: 'floor in C',
    async start(lab) {
      const actor = Actor.command(
        'the floor',
        lab.director,
        programs.encapsulate,
        DEVICE,
        lab.director.address4,
        lab.workers[0].address4,
        String(TUNNEL_PORT),
      );
      await actor.says('ready');
      keepUntracked(lab);
      lab.director.ip(
        `link set ${DEVICE} mtu ${DEVICE_MTU} txqueuelen ${QUEUE_LENGTH} up`,
        `route add ${lab.vip4} dev ${DEVICE}`,
      );
      return {
        pid: actor.child.pid!,
        drops: nothing,
        async stop() {
          await actor.stop();
          if (findCommand('nft') !== null) lab.director.run('nft', ['delete', 'table', 'inet', 'floor']);
        },
      };
    },
  };
}

/** HAProxy in TCP mode with two threads, on the virtual IP, connecting to the worker's own address. */
export function haproxy(options: readonly string[] = []): Contender {
  return {
    name: 'HAProxy',
    async start(lab) {
      const folder = mkdtempSync(join(tmpdir(), 'gue-director-bulk-'));
      const file = join(folder, 'haproxy.cfg');
      const lines = [
        'global',
        '  nbthread 2',
        '  maxconn 1000',
        'defaults',
        '  mode tcp',
        '  timeout connect 5s',
        '  timeout client 60s',
        '  timeout server 60s',
        ...options.map((option) => `  ${option}`),
        'listen bulk',
        `  bind ${lab.vip4}:${WEB_PORT}`,
        `  server worker ${lab.workers[0].address4}:${WEB_PORT}`,
      ];
      writeFileSync(file, `${lines.join('\n')}\n`);
      lab.director.ip(`addr add ${lab.vip4}/32 dev lo`);
      const actor = Actor.command('HAProxy', lab.director, 'haproxy', '-db', '-f', file);
      // It says nothing when it is ready: the first connection of the warm-up tells.
      await Promise.race([new Promise((resolve) => setTimeout(resolve, 300)), actor.fails(5)]);
      return {
        pid: actor.child.pid!,
        drops: nothing,
        async stop() {
          await actor.stop();
          lab.director.ip(`addr del ${lab.vip4}/32 dev lo`);
          rmSync(folder, { recursive: true, force: true });
        },
      };
    },
  };
}

/** The kernel of the director's namespace routes the virtual IP to the worker: no encapsulation, nobody in between. */
export const forwarding: Contender = {
  name: 'plain forwarding',
  async start(lab) {
    // Out of the link it came in by: no redirects, or the router would learn to leave the director out.
    lab.director.sysctl({ 'net.ipv4.conf.all.send_redirects': 0, 'net.ipv4.conf.eth0.send_redirects': 0 });
    lab.director.ip(`route add ${lab.vip4} via ${lab.workers[0].address4}`);
    return {
      pid: null,
      drops: nothing,
      async stop() {
        lab.director.ip(`route del ${lab.vip4} via ${lab.workers[0].address4}`);
      },
    };
  },
};
