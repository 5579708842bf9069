// Whom would IPVS take? Our tables of the scheduler `mh` beside the kernel's own choices, flow by flow.

import { buildIpvsTable, chooseIpvs, type IpvsMember, ipvsAddress } from '../../src/maglev-hash/index.ts';
import { ip } from '../builder/addresses.ts';
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

/** `weights`: of servers 1, 2, 3 … in the order in which they are added. */
function serversOf(family: 4 | 6, ...weights: number[]): Server[] {
  return weights.map((weight, i) => [family === 4 ? `198.51.100.${i + 1}` : `2001:db8:1::${i + 1}`, 8000 + i, weight]);
}

function shapes(count: number): Record<string, IpvsService> {
  const port = 80;
  const plain = { port, options: [], changes: [], flows: flowsOf(count, 4) };
  return {
    'equal weights': { ...plain, address: '192.0.2.1', servers: serversOf(4, 1, 1, 1) },
    'weights 3, 2, 1 and 100, mh-port': {
      ...plain,
      address: '192.0.2.2',
      options: ['-b', 'mh-port'],
      servers: serversOf(4, 3, 2, 1, 100),
    },
    'one of three quiesced, mh-fallback and mh-port': {
      ...plain,
      address: '192.0.2.3',
      options: ['-b', 'mh-fallback,mh-port'],
      servers: serversOf(4, 5, 5, 5),
      changes: [['-e', '-u', '192.0.2.3:80', '-r', '198.51.100.2:8001', '-m', '-w', '0']],
    },
    'weights 1000, 7 and 300, the last removed': {
      ...plain,
      address: '192.0.2.4',
      servers: serversOf(4, 1000, 7, 300),
      changes: [['-d', '-u', '192.0.2.4:80', '-r', '198.51.100.3:8002']],
    },
    'IPv6, weights 1, 2 and 3, mh-port': {
      ...plain,
      address: '2001:db8:ff::1',
      options: ['-b', 'mh-port'],
      servers: serversOf(6, 1, 2, 3),
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

async function run(scale: Scale): Promise<Outcome> {
  const count = FLOWS[scale];
  const services = shapes(count);
  const answers = await askIpvs(Object.values(services));
  const figures: Record<string, number | string> = { 'flows of each shape': count };
  let passed = true;
  Object.entries(services).forEach(([shape, service], k) => {
    const wrong = differences(service, answers[k]);
    const complete = answers[k].made.length === count;
    figures[shape] = `${answers[k].made.length} choices of the kernel, ${wrong} of ours differ`;
    passed &&= complete && wrong === 0;
  });
  return { passed, figures };
}

export const ipvsMh: Line = {
  name: 'ipvs-mh',
  claim:
    'For 10,000 flows in each of five pool shapes our table of the scheduler mh gives the real server that the kernel’s IPVS gives, with and without mh-port and mh-fallback, IPv4 and IPv6.',
  twin: 'test/full/ipvs-mh.test.ts',
  run,
};
