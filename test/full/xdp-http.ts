// HTTP to a real kernel as worker, through the drivers that work on frames, beside what is the host's own: sessions to it, and the questions of its neighbours.

import { contentHash } from '../../src/demo/content.ts';
import { Lab } from '../../src/demo/lab/topology.ts';
import { Guest } from '../uml/guest.ts';
import { describeSessions, HostSessions, wrongSessions } from './host-session.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { allDrops, Stage, text, WEB_PORT } from './stage.ts';
import { http, speed, wrongTransfers } from './transfers.ts';

const BYTES: Readonly<Record<Scale, number>> = { full: 100_000_000, scaled: 2_000_000 };
const interface_ = (driver: string) => `{ driver: ${driver}, interface: eth0 }`;
const WAYS = [
  { label: 'xdp → xdp', ingress: interface_('xdp'), egress: interface_('xdp') },
  { label: 'xdp → auto', ingress: interface_('xdp'), egress: '{ driver: auto }' },
  { label: 'packet → auto', ingress: interface_('packet'), egress: '{ driver: auto }' },
  { label: 'packet → xdp', ingress: interface_('packet'), egress: interface_('xdp') },
];
/** Milliseconds that a line of a session may take: TCP sends again what was lost after 200. */
const LIMIT = 1000;
/** Milliseconds between two times that router and director forget each other. */
const FORGET_EVERY = 250;

interface Report {
  readonly figures: Record<string, string>;
  readonly complaints: string[];
}

/** Router and director forget each other's MAC addresses again and again until it is told to stop; how often. */
function forgetting({ router, director }: Lab): { stop(): number } {
  let count = 0;
  const timer = setInterval(() => {
    count++;
    router.ip('neigh flush dev lan0');
    director.ip(`neigh flush to ${router.address4}`);
    director.ip(`neigh flush to ${router.address6}`);
  }, FORGET_EVERY);
  return {
    stop: () => {
      clearInterval(timer);
      return count;
    },
  };
}

async function through(
  lab: Lab,
  guest: Guest,
  way: (typeof WAYS)[number],
  where: string,
  bytes: number,
  report: Report,
): Promise<void> {
  const label = `${way.label}, ${where}`;
  const { ingress, egress } = way;
  const stage = await Stage.inLab(lab, { ingress, egress, endpoints: () => [guest.address4, guest.address6] });
  try {
    const orders = [lab.vip4, lab.vip6].flatMap((address) =>
      (['upload', 'download'] as const).map((kind) => [{ kind, address, port: WEB_PORT, bytes }]),
    );
    const questions = forgetting(lab);
    const results = await http(stage, orders);
    const asked = questions.stop();
    report.complaints.push(...wrongTransfers(results, 4, bytes, contentHash(bytes)).map((one) => `${label}: ${one}`));
    const speeds = results.map((one) => `IPv${one.family} ${one.kind} ${speed(bytes, one.milliseconds)}`);
    const drops = text(allDrops(await stage.counters()));
    report.figures[label] =
      `every byte right; Gbit/s: ${speeds.join(', ')}; dropped: ${drops}; neighbours forgotten ${asked} times`;
  } finally {
    const log = stage.director.log;
    const { exitCode } = await stage.close();
    if (exitCode !== 0) report.complaints.push(`${label}: the director ended with ${exitCode}: ${log}`);
  }
}

async function inLab(scale: Scale, offloads: 'all' | 'none', report: Report): Promise<void> {
  const where = offloads === 'all' ? 'links with offloads' : 'links without offloads';
  const lab = Lab.create({ workers: 0, insideMtu: 1500, offloads });
  let guest: Guest | undefined;
  try {
    guest = await Guest.boot(lab, { vips: [lab.vip4, lab.vip6], webPorts: [WEB_PORT], mtu: 1500 });
    const sessions = await HostSessions.start(lab);
    const ways = scale === 'full' ? WAYS : WAYS.slice(0, 1);
    for (const way of ways) await through(lab, guest, way, where, BYTES[scale], report);
    const results = await sessions.end();
    report.complaints.push(...wrongSessions(results, LIMIT).map((one) => `${where}: ${one}`));
    report.figures[`sessions to the host all the while, ${where}`] = describeSessions(results);
  } finally {
    await guest?.stop();
    lab.close();
  }
}

async function run(scale: Scale): Promise<Outcome> {
  const report: Report = { figures: {}, complaints: [] };
  await inLab(scale, 'all', report);
  if (scale === 'full') await inLab(scale, 'none', report);
  const { figures, complaints } = report;
  return { passed: complaints.length === 0, figures: { ...figures, complaints: complaints.join(' | ') || 'none' } };
}

export const xdpHttp: Line = {
  name: 'xdp-http',
  claim:
    'HTTP of 100 MB up and down through xdp and packet, IPv4 and IPv6, links with and without offloads, to a real kernel as worker: every byte right; sessions, ARP and neighbour discovery of the host undisturbed while attached.',
  twin: 'test/full/xdp-http.test.ts',
  run,
};
