// Whom would IPVS take? Our tables of the scheduler `mh` beside the kernel's own choices, flow by flow: by the library, and by the packet path
// under a configuration with `scheme: ipvs-mh`, one datagram for each flow.

import { loadText } from '../../src/config/load.ts';
import { buildIpvsTable, chooseIpvs, type IpvsMember, ipvsAddress } from '../../src/maglev-hash/index.ts';
import { ip } from '../builder/addresses.ts';
import { packet } from '../builder/packet.ts';
import { Rig } from '../pipeline/rig.ts';
import { askIpvs, type Flow, type IpvsChoices, type IpvsService, type Server } from '../uml/ipvs.ts';
import type { Line, Outcome, Scale } from './line.ts';

/** The size that Debian's User-Mode Linux is built with (CONFIG_IP_VS_MH_TAB_INDEX 12). */
const SIZE = 4093;
const FLOWS = { full: 10_000, scaled: 1_000 };

/** Flows from all over the address space; neighbours in number are far apart. */
function flowsOf(count: number, family: 4 | 6): Flow[] {
  return Array.from({ length: count }, (_, i): Flow => {
    const x = Math.imul(i + 1, 0x9e3779b1) >>> 0;
    const port = 1024 + (x % 60_000);
    if (family === 6) return [`2001:db8:${(x >>> 16).toString(16)}::${(x & 0xffff).toString(16)}:${i.toString(16)}`, port];
    return [`10.${x >>> 24}.${(x >>> 16) & 255}.${(x >>> 8) & 255}`, port];
  });
}

/** `weights`: of servers 1, 2, 3 … in the order in which they are added. `port`: 80 is that of the service, as IPVS tunnels have it. */
function serversOf(family: 4 | 6, port: number, ...weights: number[]): Server[] {
  return weights.map((weight, i) => [family === 4 ? `198.51.100.${i + 1}` : `2001:db8:1::${i + 1}`, port, weight]);
}

function shapes(count: number): Record<string, IpvsService> {
  const port = 80;
  const plain = { port, options: [], changes: [], flows: flowsOf(count, 4) };
  return {
    'equal weights': { ...plain, address: '192.0.2.1', servers: serversOf(4, 80, 1, 1, 1) },
    'weights 3, 2, 1 and 100, mh-port': {
      ...plain,
      address: '192.0.2.2',
      options: ['-b', 'mh-port'],
      servers: serversOf(4, 8000, 3, 2, 1, 100),
    },
    'one of three quiesced, mh-fallback and mh-port': {
      ...plain,
      address: '192.0.2.3',
      options: ['-b', 'mh-fallback,mh-port'],
      servers: serversOf(4, 80, 5, 5, 5),
      changes: [['-e', '-u', '192.0.2.3:80', '-r', '198.51.100.2:80', '-m', '-w', '0']],
    },
    'weights 1000, 7 and 300, the last removed': {
      ...plain,
      address: '192.0.2.4',
      servers: serversOf(4, 8000, 1000, 7, 300),
      changes: [['-d', '-u', '192.0.2.4:80', '-r', '198.51.100.3:8000']],
    },
    'IPv6, weights 1, 2 and 3, mh-port': {
      ...plain,
      address: '2001:db8:ff::1',
      options: ['-b', 'mh-port'],
      servers: serversOf(6, 80, 1, 2, 3),
      flows: flowsOf(count, 6),
    },
  };
}

/** Flows for which our choice is not the kernel's. */
function differences(service: IpvsService, { order, made }: IpvsChoices): number {
  const members = order.map(([address, port, weight]): IpvsMember => {
    // A server that was quiesced keeps the slots of the weight it had.
    const had = service.servers.find((server) => server[0] === address && server[1] === port)?.[2] ?? 0;
    return { address: ip(address), port, weight: weight === 0 ? had : weight };
  });
  const table = buildIpvsTable(members, SIZE);
  const available = Uint8Array.from(order, ([, , weight]) => (weight > 0 ? 1 : 0));
  const flags = service.options.join();
  return made.filter(([client, port, server, serverPort]) => {
    const hashed = flags.includes('mh-port') ? port : 0;
    const choice = chooseIpvs(table, ipvsAddress(ip(client)), hashed, available, flags.includes('mh-fallback'));
    return choice < 0 || order[choice][0] !== server || order[choice][1] !== serverPort;
  }).length;
}

/** The service as a person would write it down here: the servers in the kernel's order, one that was quiesced as draining. */
function configurationOf(service: IpvsService, order: readonly Server[]): string {
  const flags = service.options.join();
  const backends = order.map(([address, port, weight]) => {
    const had = service.servers.find((server) => server[0] === address && server[1] === port)?.[2] ?? 0;
    const given = weight > 0 ? `weight: ${weight}` : `weight: ${had}, state: draining`;
    return `      - { name: "${address.replaceAll(':', '-')}", address: "${address}", ${given} }`;
  });
  const port = order[0][1] === service.port ? '' : `, server-port: ${order[0][1]}`;
  const on = (flag: string) => `${flag}: ${flags.includes(flag)}`;
  return `services: [{ name: s, address: "${service.address}", protocol: udp, port: ${service.port}, pool: p }]
pools:
  p:
    scheme: { name: ipvs-mh, ${on('mh-port')}, ${on('mh-fallback')}${port} }
    backends:
${backends.join('\n')}
tunnel: { source: { ipv4: 203.0.113.1, ipv6: "2001:db8:3::1" } }
`;
}

/** Flows whose datagram the packet path sends elsewhere than the kernel. */
function missteered(service: IpvsService, { order, made }: IpvsChoices): number {
  const rig = new Rig(loadText(configurationOf(service, order), 'ipvs.yaml').spec, undefined, { entries: 65536 });
  const frames = made.map(([src, sport]) => {
    const at = src.includes(':') ? packet().ipv6({ src, dst: service.address }) : packet().ipv4({ src, dst: service.address });
    return at.udp({ sport, dport: service.port }).bytes();
  });
  return rig.run(frames).filter(({ backend }, i) => backend !== made[i][2].replaceAll(':', '-')).length;
}

async function run(scale: Scale): Promise<Outcome> {
  const count = FLOWS[scale];
  const services = shapes(count);
  const answers = await askIpvs(Object.values(services));
  const figures: Record<string, number | string> = { 'flows of each shape': count };
  let passed = true;
  Object.entries(services).forEach(([shape, service], k) => {
    const wrong = differences(service, answers[k]);
    const complete = answers[k].made.length === count;
    const elsewhere = missteered(service, answers[k]);
    figures[shape] =
      `${answers[k].made.length} choices of the kernel, ${wrong} of the library's differ, ${elsewhere} datagrams went elsewhere`;
    passed &&= complete && wrong === 0 && elsewhere === 0;
  });
  return { passed, figures };
}

export const ipvsMh: Line = {
  name: 'ipvs-mh',
  claim:
    'For 10,000 flows in each of five pool shapes our table of the scheduler mh, by itself and in the packet path with scheme ipvs-mh, gives the real server that the kernel’s IPVS gives, with and without mh-port and mh-fallback, IPv4 and IPv6.',
  twin: 'test/full/ipvs-mh.test.ts',
  run,
};
