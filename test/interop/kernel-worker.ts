// A Linux kernel as the worker of every cell: the commands of docs/workers.md, run in a User-Mode Linux guest.

import { resolve } from 'node:path';
import type { Lab } from '../../src/demo/lab/topology.ts';
import { Guest } from '../uml/guest.ts';
import { CELLS, type Cell, ECHO_PORT, FOU_PORT } from './cells.ts';

const HOST = 31;
/** A GRE device takes either packets with a checksum or packets without: those with one go to an address of their own. */
const SUM_HOST = 32;

/** Where a cell's director sends to. */
export function endpointOf(cell: Pick<Cell, 'kind' | 'checksum' | 'outer'>): string {
  const host = cell.kind === 'gre' && cell.checksum === 'full' ? SUM_HOST : HOST;
  return cell.outer === 4 ? `10.80.1.${host}` : `fd80:0:0:1::${host}`;
}

/** What docs/workers.md tells people to type, beside what Guest does for GUE. */
const FOU = ([4, 6] as const).map((inner) => {
  const words = `add port ${FOU_PORT[inner]} ipproto ${inner === 4 ? 4 : 41}`;
  return `ip fou ${words}; ip -6 fou ${words}`;
});

const GRE = [
  'modprobe ip_gre; modprobe ip6_gre',
  'ip link set gre0 up; ip link set ip6gre0 up',
  `ip addr add 10.80.1.${SUM_HOST}/24 dev vec0; ip addr add fd80:0:0:1::${SUM_HOST}/64 dev vec0 nodad`,
  `ip link add gresum type gre local 10.80.1.${SUM_HOST} remote any icsum; ip link set gresum up`,
  `ip link add gresum6 type ip6gre local fd80:0:0:1::${SUM_HOST} remote any icsum encaplimit none; ip link set gresum6 up`,
  'for name in gre0 gresum; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done',
];

/** The commands as the page has them: with names for the addresses. */
export const COMMANDS: readonly string[] = [...FOU, ...GRE]
  .flatMap((line) => line.split('; '))
  .filter((command) => /^(ip|modprobe) (?!addr)/.test(command))
  .map((command) => command.replace(`10.80.1.${SUM_HOST}`, 'WORKER4').replace(`fd80:0:0:1::${SUM_HOST}`, 'WORKER6'));

const program = resolve(import.meta.dirname, 'udp-echo.mjs');

/** Boots it. Each virtual IP answers HTTP on port 80 and sends back datagrams of port 7. */
export function bootKernelWorker(lab: Lab): Promise<Guest> {
  const vips = CELLS.map((cell) => cell.vip);
  return Guest.boot(lab, {
    host: HOST,
    vips,
    extra: [
      ...FOU,
      ...GRE,
      `${process.execPath} ${program} ${ECHO_PORT} ${vips.join(' ')} > /run/echo &`,
      'for i in $(seq 200); do grep -q ready /run/echo && break; sleep 0.1; done',
    ],
  });
}
