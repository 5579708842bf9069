// What is read before and after a transfer: a process's processor time, and every drop that the kernel counts in the lab.

import { readFileSync } from 'node:fs';
import type { Namespace } from '../../src/demo/lab/namespace.ts';

/** Clock ticks of /proc: USER_HZ, 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/**
 * Seconds of processor time that a process and its threads have used, in user and kernel mode (/proc/PID/stat, fields 14 and 15). The kernel
 * adds what it does for a packet on that process's back (softirq), up to the next queue.
 */
export function processorSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field, the command's name, may hold anything but ends with the last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Counted since the namespaces were made. */
export interface Drops {
  /** Towards the director or the floor: what their TUN device's queue did not take. */
  readonly tun: number;
  /** Every other device of the lab, both directions. */
  readonly links: number;
  /** The worker's socket (UDP RcvbufErrors and InErrors). */
  readonly socket: number;
}

/** Drops of all devices of the lab, `tun` the name of the one that the contender reads; and of the worker's socket. */
export function countDrops(namespaces: readonly Namespace[], worker: Namespace, tun: string): Drops {
  let onTun = 0;
  let onLinks = 0;
  for (const namespace of namespaces) {
    for (const line of namespace.run('cat', ['/proc/net/dev']).split('\n')) {
      const [name, columns] = line.split(':');
      if (columns === undefined) continue;
      // Eight receive columns, then eight of transmit: bytes packets errs drop …
      const numbers = columns.trim().split(/\s+/).map(Number);
      const dropped = numbers[3] + numbers[11];
      if (name.trim() === tun) onTun += dropped;
      else onLinks += dropped;
    }
  }
  const [titles, values] = worker
    .run('cat', ['/proc/net/snmp'])
    .split('\n')
    .filter((line) => line.startsWith('Udp:'))
    .map((line) => line.split(/\s+/));
  return { tun: onTun, links: onLinks, socket: Number(values[titles.indexOf('InErrors')]) };
}

export function newDrops(before: Drops, after: Drops): Drops {
  return { tun: after.tun - before.tun, links: after.links - before.links, socket: after.socket - before.socket };
}
