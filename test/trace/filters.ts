// Filters as somebody might write them, made at random: of tcpdump's words alone, or with ours.

import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import type { Random } from '../full/random.ts';

/** What the packets that are filtered have, so that terms match some. */
export interface Pool {
  readonly hosts: readonly string[];
  readonly nets: readonly string[];
  readonly ports: readonly number[];
  readonly services: readonly string[];
  readonly pools: readonly string[];
  readonly backends: readonly string[];
}

const SIDES = ['', 'src ', 'dst ', 'src or dst '];

export function packetTerm(random: Random, { hosts, nets, ports }: Pool): string {
  const port = () => (random.chance(8) ? random.below(65_536) : random.pick(ports));
  switch (random.below(13)) {
    case 0:
      return `${random.pick(SIDES)}host ${random.pick(hosts)}`;
    case 1:
      return `${random.pick(SIDES)}net ${random.pick(nets)}`;
    case 2:
      return `${random.pick(SIDES)}port ${port()}`;
    case 3: {
      const [a, b] = [port(), port()].sort((x, y) => x - y);
      return `${random.pick(SIDES)}portrange ${a}-${b}`;
    }
    case 4:
      return random.pick(['tcp', 'udp', 'icmp', 'icmp6', 'ip', 'ip6', 'sctp']);
    case 5:
      return `${random.pick(['', 'ip ', 'ip6 '])}proto ${random.pick([6, 17, 1, 58, 47, 50, 132])}`;
    case 6:
      return `${random.pick(['less', 'greater'])} ${random.pick([60, 84, 100, 576, 1280, 1400, 1500])}`;
    case 7:
      return `${random.pick(['tcp', 'udp'])} ${random.pick(SIDES)}port ${port()}`;
    case 8:
      return `(ip and tcp[tcpflags] & ${random.pick(['tcp-syn', '(tcp-syn|tcp-ack)', 'tcp-rst', '18'])} ${random.pick(['!= 0', '== tcp-syn', '= 0', '> 2', '== 18'])})`;
    case 9:
      return `src host ${random.pick(hosts)} and dst port ${port()}`;
    case 10:
      return `tcp port ${port()} or ${port()}`;
    case 11:
      return `(ip and tcp[13] ${random.pick(['!= 0', '= 16', '== 24', '< 17'])})`;
    default:
      return `host ${random.pick(hosts)} or ${random.pick(hosts)}`;
  }
}

function ownTerm(random: Random, { services, pools, backends }: Pool): string {
  switch (random.below(8)) {
    case 0:
      return `service ${random.pick(services)}`;
    case 1:
      return `pool ${random.pick(pools)}`;
    case 2: {
      const backend = random.pick(backends);
      return `backend ${random.chance(2) ? backend : backend.split('/')[1]}`;
    }
    case 3:
      return `verdict ${random.pick(['forward', 'drop', 'reply', 'pass', 'held'])}`;
    case 4:
      return `drop ${random.pick(DROP_REASONS.slice(1)).word}`;
    case 5:
      return 'dropped';
    default:
      return random.pick(['syn', 'fin', 'rst']);
  }
}

/** `own`: with our words too. */
export function randomFilter(random: Random, pool: Pool, own: boolean, depth = 3): string {
  const inner = () => randomFilter(random, pool, own, depth - 1);
  if (depth === 0 || random.chance(3)) return own && random.chance(2) ? ownTerm(random, pool) : packetTerm(random, pool);
  switch (random.below(4)) {
    case 0:
      return `not (${inner()})`;
    case 1:
      return `(${inner()}) ${random.pick(['and', '&&'])} (${inner()})`;
    case 2:
      return `(${inner()}) ${random.pick(['or', '||'])} (${inner()})`;
    default:
      return `${inner()} ${random.pick(['and', 'or'])} ${inner()}`;
  }
}
