// What arrived at a worker that unwraps nothing, by its kernel's own count.

import type { Namespace } from '../../src/demo/lab/namespace.ts';

/** Tunnel packets that came as far as a worker's UDP: nobody listens there. */
export function arrivals(worker: Namespace): number {
  const text = worker.run('cat', ['/proc/net/snmp', '/proc/net/snmp6']);
  const four = text.split('\n').filter((line) => line.startsWith('Udp:'));
  const at = four[0].split(' ').indexOf('NoPorts');
  return Number(four[1].split(' ')[at]) + Number(/^Udp6NoPorts\s+(\d+)/m.exec(text)?.[1]);
}
