// Configurations that somebody might wish for one after another: random, valid, each a few changes away from the one before; and wrong ones.

import { loadText } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problem.ts';
import { METRICS } from '../../src/demo/configuration.ts';
import type { Lab } from '../../src/demo/lab/topology.ts';
import type { Random } from './random.ts';

export const TRANSFER_PORT = 7000;
/** UDP services that come and go, at the IPv4 address of the transfers: datagrams are sent to them all the time. */
export const UDP_PORTS = [5300, 5301, 5302];

type Key = 'encapsulation' | 'checksum' | 'ttl' | 'dscp' | 'ecn' | 'df' | 'source-port' | 'flow-label';
const TUNNELS: Readonly<Record<Key, readonly string[]>> = {
  encapsulation: ['gue', 'gue', 'gue-v1', 'fou', 'ipip', 'gre'],
  checksum: ['auto', 'none', 'full'],
  ttl: ['64', 'copy', '32'],
  dscp: ['copy', '0', '46'],
  ecn: ['copy', 'zero', 'rfc3168'],
  df: ['set', 'copy', 'clear'],
  'source-port': ['default', 'ipvs', 'katran'],
  'flow-label': ['auto', 'hash', 'zero'],
};
const KEYS = Object.keys(TUNNELS) as Key[];

interface Backend {
  weight: number;
  present: boolean;
  state: 'active' | 'draining' | 'down';
}

export interface Tally {
  weights: number;
  backends: number;
  services: number;
  tunnels: number;
}

export class Wishes {
  readonly #lab: Lab;
  readonly #random: Random;
  /** As many workers as these stay in every configuration, active; the others come and go. */
  readonly #staying: number;
  readonly #backends: Backend[];
  readonly #extras = [false, false, false, false, false, false];
  readonly #tunnels = [4, 6].map(() => new Map<Key, string>([['encapsulation', 'gue']]));
  readonly tally: Tally = { weights: 0, backends: 0, services: 0, tunnels: 0 };

  constructor(lab: Lab, random: Random, staying: number) {
    this.#lab = lab;
    this.#random = random;
    this.#staying = staying;
    this.#backends = lab.workers.map(() => ({ weight: 1, present: true, state: 'active' }));
  }

  /** One to three changes. */
  next(): string {
    for (let left = 1 + this.#random.below(3); left > 0; left--) this.#change();
    return this.yaml();
  }

  #change(): void {
    const random = this.#random;
    const turn = random.below(4);
    if (turn === 0) {
      random.pick(this.#backends).weight = 1 + random.below(10);
      this.tally.weights++;
    } else if (turn === 1) {
      const backend = random.pick(this.#backends.slice(this.#staying));
      if (backend.present && random.chance(2)) backend.state = random.pick(['active', 'draining', 'down'] as const);
      else backend.present = !backend.present;
      this.tally.backends++;
    } else if (turn === 2) {
      const which = random.below(this.#extras.length);
      this.#extras[which] = !this.#extras[which];
      this.tally.services++;
    } else {
      const key = random.pick(KEYS);
      random.pick(this.#tunnels).set(key, random.pick(TUNNELS[key]));
      this.tally.tunnels++;
    }
  }

  yaml(): string {
    const { vip4, vip6, director } = this.#lab;
    const extras = this.#extras.flatMap((isThere, i) => {
      if (!isThere) return [];
      const udp = i < UDP_PORTS.length;
      const place = udp ? `"${vip4}", protocol: udp, port: ${UDP_PORTS[i]}` : `10.80.9.${10 + i}, protocol: tcp, port: 80`;
      return [`  - { name: extra-${i}, address: ${place}, pool: over-4 }`];
    });
    return `services:
  - { name: paced-4, address: "${vip4}", protocol: tcp, port: ${TRANSFER_PORT}, pool: over-4 }
  - { name: paced-6, address: "${vip6}", protocol: tcp, port: ${TRANSFER_PORT}, pool: over-6 }
${extras.map((line) => `${line}\n`).join('')}pools:
${this.#pool(4)}${this.#pool(6)}tunnel: { port: 6080, source: { ipv4: ${director.address4}, ipv6: "${director.address6}" } }
flows: { entries: 65536 }
metrics: { listen: "${METRICS}" }
log: { level: info, format: json }
`;
  }

  #pool(family: 4 | 6): string {
    const tunnel = this.#tunnels[family === 4 ? 0 : 1];
    const encapsulation = tunnel.get('encapsulation');
    const ports = encapsulation === 'fou' ? ', port: 6084, port-ipv6: 6086' : '';
    const keys = [...tunnel].filter(([key]) => applies(key, encapsulation as string, family));
    const backends = this.#backends.flatMap(({ weight, present, state }, i) => {
      const { role, address4, address6 } = this.#lab.workers[i];
      if (!present) return [];
      return [
        `      - { name: ${role}, address: "${family === 4 ? address4 : address6}", weight: ${weight}, state: ${state} }\n`,
      ];
    });
    return `  over-${family}:
    table-size: 4093
    tunnel: { ${keys.map(([key, value]) => `${key}: ${value}`).join(', ')}${ports} }
    backends:
${backends.join('')}`;
  }
}

/** Keys that have no effect with an encapsulation are not written: some are refused. */
function applies(key: Key, encapsulation: string, family: 4 | 6): boolean {
  const hasUdp = encapsulation.startsWith('gue') || encapsulation === 'fou';
  if (key === 'source-port') return hasUdp;
  if (key === 'checksum') return hasUdp && family === 4;
  if (key === 'df') return family === 4;
  if (key === 'flow-label') return family === 6;
  return true;
}

type Mutation = (yaml: string, random: Random) => string;

const replaced =
  (what: RegExp, by: string): Mutation =>
  (yaml) =>
    yaml.replace(what, by);

/** By what is wrong. */
export const MUTATIONS: Readonly<Record<string, Mutation>> = {
  'port out of range': replaced(/port: 7000/, 'port: 70000'),
  'unknown key': replaced(/weight: \d+/, 'wieght: 1'),
  'pool that is not there': replaced(/pool: over-6/, 'pool: over-7'),
  'name twice': replaced(/name: paced-6/, 'name: paced-4'),
  'address that is none': replaced(/address: "10\.80\.1\.\d+"/, 'address: "10.80.1.256"'),
  'no prime': replaced(/table-size: 4093/, 'table-size: 4096'),
  'weight too large': replaced(/weight: \d+/, 'weight: 65536'),
  'state that is none': replaced(/state: \w+/, 'state: sleeping'),
  'encapsulation that is none': replaced(/encapsulation: \S+ ?/, 'encapsulation: vxlan '),
  'service that holds a backend': replaced(/address: "10\.80\.9\.1"/, 'address: "10.80.0.0/15"'),
  'services that overlap': replaced(
    /services:\n/,
    'services:\n  - { name: again, address: 10.80.9.1, protocol: tcp, port: 7000, pool: over-4 }\n',
  ),
  'a tab': replaced(/\n {2}- /, '\n\t- '),
  'a bracket too few': replaced(/ \}\n/, '\n'),
  'threads, which only a restart changes': (yaml) => `${yaml}threads: 2\n`,
  'flows, which only a restart changes': replaced(/entries: 65536/, 'entries: 131072'),
  'a driver, which only a restart changes': (yaml) => `${yaml}ingress: { driver: packet, interface: eth0 }\n`,
  'cut off': (yaml, random) => yaml.slice(0, random.below(yaml.length)),
  'a letter changed': (yaml, random) => {
    const at = random.below(yaml.length);
    return yaml.slice(0, at) + random.pick([':', '{', '"', 'x', '9', '-', '\n', ' ']) + yaml.slice(at + 1);
  },
  'a line lost': (yaml, random) => {
    const lines = yaml.split('\n');
    lines.splice(random.below(lines.length), 1);
    return lines.join('\n');
  },
};

/** `yaml` made wrong; `what` says how. Draws until it is: a letter changed in a name changes only the name. */
export function wrong(yaml: string, what: string, random: Random): string {
  for (let tries = 0; tries < 1000; tries++) {
    const text = MUTATIONS[what](yaml, random);
    if (what.includes('only a restart')) return text;
    try {
      loadText(text, 'wrong.yaml');
    } catch (error) {
      if (error instanceof ConfigError) return text;
      throw error;
    }
  }
  throw new Error(`"${what}" does not make this configuration wrong:\n${yaml}`);
}
