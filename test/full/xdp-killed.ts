// kill -9 with the program at the interface, under traffic for a service and for the host: the kernel takes the program off, whatever the process was doing.

import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Lab } from '../../src/demo/lab/topology.ts';
import { configuration } from '../daemon/running-director.ts';
import { RunningDirector } from '../uml/director.ts';
import { arrivals } from '../xdp/arrivals.ts';
import { describeSessions, HostSessions, wrongSessions } from './host-session.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Program } from './program.ts';

const ROUNDS: Readonly<Record<Scale, number>> = { full: 20, scaled: 1 };
const XDP = '{ driver: xdp, interface: eth0 }';
/** Milliseconds from the kill until everything is as before. */
const LIMIT = 1000;
/** Milliseconds until a new director forwards what comes. */
const PATIENCE = 5000;
/** Tunnel packets at the worker that show it. */
const ENOUGH = 100;

/** Datagrams for both virtual IPs, one a millisecond. */
const TRAFFIC = `
  const sockets = [['udp4', process.argv[1]], ['udp6', process.argv[2]]].map(([kind, address]) => {
    const socket = require('node:dgram').createSocket(kind).on('error', () => {});
    return () => socket.send('datagram', 53, address, () => {});
  });
  let count = 0;
  setInterval(() => sockets[count++ % 2](), 1);
  console.log('sending');`;

/** The interface as `ip` shows it, but for what its traffic changes. */
function interfaceOf({ director }: Lab): string {
  return director.run('ip', ['-d', 'link', 'show', 'eth0']);
}

async function until(condition: () => boolean, patience: number): Promise<boolean> {
  const deadline = performance.now() + patience;
  while (!condition()) {
    if (performance.now() > deadline) return false;
    await delay(10);
  }
  return true;
}

interface Times {
  /** Milliseconds until the program was gone, and until the host had found and answered its neighbours over both families. */
  readonly gone: number[];
  readonly answered: number[];
}

/** One director: it forwards, is killed, and nothing of it is left at the interface. */
async function killOne(lab: Lab, before: string, times: Times, complaints: string[]): Promise<void> {
  const director = await RunningDirector.start(lab.director, configuration(lab, { ingress: XDP, egress: XDP }));
  if (interfaceOf(lab) === before) complaints.push('no program at the interface');
  const [worker] = lab.workers;
  const arrived = arrivals(worker);
  if (!(await until(() => arrivals(worker) > arrived + ENOUGH, PATIENCE)))
    complaints.push(`it forwards nothing: ${director.log}`);
  const killed = performance.now();
  process.kill(director.pid, 'SIGKILL');
  await until(() => !existsSync(`/proc/${director.pid}`) || interfaceOf(lab) === before, LIMIT);
  if (!(await until(() => interfaceOf(lab) === before, LIMIT)))
    complaints.push(`the interface is not as before: ${interfaceOf(lab)}`);
  times.gone.push(performance.now() - killed);
  // Neighbours are asked for anew.
  lab.router.ip('neigh flush all');
  lab.director.ip('neigh flush all');
  for (const address of [lab.director.address4, lab.director.address6]) {
    lab.client.run('ping', ['-c', '1', '-W', '2', '-n', address]);
  }
  times.answered.push(performance.now() - killed);
  await director.stop();
}

async function run(scale: Scale): Promise<Outcome> {
  const complaints: string[] = [];
  const figures: Record<string, string | number> = {};
  const lab = Lab.create({ workers: 1 });
  let traffic: Program | null = null;
  try {
    const before = interfaceOf(lab);
    const sessions = await HostSessions.start(lab);
    traffic = await Program.start(lab.client, process.execPath, ['-e', TRAFFIC, lab.vip4, lab.vip6], 'sending');
    const times: Times = { gone: [], answered: [] };
    for (let round = 0; round < ROUNDS[scale]; round++) await killOne(lab, before, times, complaints);
    const last = await RunningDirector.start(lab.director, configuration(lab, { ingress: XDP, egress: XDP }));
    const arrived = arrivals(lab.workers[0]);
    if (!(await until(() => arrivals(lab.workers[0]) > arrived + ENOUGH, PATIENCE)))
      complaints.push('the last one forwards nothing');
    const code = await last.stop();
    if (code !== 0) complaints.push(`the last one ended with ${code}: ${last.log}`);
    if (interfaceOf(lab) !== before) complaints.push(`after a clean end: ${interfaceOf(lab)}`);
    const results = await sessions.end();
    complaints.push(...wrongSessions(results, LIMIT));
    complaints.push(...lab.leftovers().map((fact) => `left over: ${fact}`));
    const worst = { gone: Math.max(...times.gone), answered: Math.max(...times.answered) };
    if (worst.answered > LIMIT) complaints.push(`the host answered after ${worst.answered} ms`);
    figures['kill -9 while attached'] = `${ROUNDS[scale]} times, under a datagram a millisecond`;
    figures['the interface is as before'] = `after ${worst.gone.toFixed(0)} ms at most`;
    figures['the host is found and answers (ARP, neighbour discovery, ping)'] = `after ${worst.answered.toFixed(0)} ms at most`;
    figures['sessions to the host all the while'] = describeSessions(results);
    figures['the next start'] = 'forwards; after its clean end nothing is left';
  } finally {
    await traffic?.stop();
    lab.close();
  }
  return { passed: complaints.length === 0, figures: { ...figures, complaints: complaints.join(' | ') || 'none' } };
}

export const xdpKilled: Line = {
  name: 'xdp-killed',
  claim:
    'Killed (-9) while AF_XDP is attached, 20 times under traffic: the interface works as before within a second, sessions to the host over IPv4 and IPv6 live on, the next start takes over, and its clean end leaves nothing.',
  twin: 'test/full/xdp-killed.test.ts',
  run,
};
