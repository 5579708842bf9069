// Everything in a lab that counts lost packets, and what TCP did about it: read before and after a load, and compared.

import type { Lab } from '../../src/demo/lab/topology.ts';

/** By name, each beginning with the role of its namespace. */
export type Counters = ReadonlyMap<string, number>;

interface Link {
  readonly ifname: string;
  readonly stats64: { readonly rx: Readonly<Record<string, number>>; readonly tx: Readonly<Record<string, number>> };
}
interface Queue {
  readonly kind: string;
  readonly dev: string;
  readonly drops: number;
}

/** Of /proc/net/snmp, snmp6 and netstat: packets that a host threw away. */
const LOSSES = [
  'Ip InHdrErrors',
  'Ip InAddrErrors',
  'Ip InDiscards',
  'Ip OutDiscards',
  'Ip OutNoRoutes',
  'Ip ReasmFails',
  'Ip FragFails',
  'Udp InErrors',
  'Udp RcvbufErrors',
  'Udp SndbufErrors',
  'Udp InCsumErrors',
  'Udp MemErrors',
  'Tcp InErrs',
  'Tcp InCsumErrors',
  'TcpExt TCPBacklogDrop',
  'TcpExt TCPRcvQDrop',
  'TcpExt RcvPruned',
  'TcpExt OfoPruned',
  'TcpExt ListenDrops',
  'TcpExt TCPZeroWindowDrop',
  'IpExt InTruncatedPkts',
  'Ip6 InHdrErrors',
  'Ip6 InTooBigErrors',
  'Ip6 InAddrErrors',
  'Ip6 InTruncatedPkts',
  'Ip6 InDiscards',
  'Ip6 OutDiscards',
  'Ip6 OutNoRoutes',
  'Ip6 ReasmFails',
  'Ip6 FragFails',
  'Udp6 InErrors',
  'Udp6 RcvbufErrors',
  'Udp6 InCsumErrors',
] as const;

/** What TCP sent again, and why. */
const AGAIN = [
  'Tcp RetransSegs',
  'TcpExt TCPLossProbes',
  'TcpExt TCPTimeouts',
  'TcpExt TCPFastRetrans',
  'TcpExt TCPLostRetransmit',
  'TcpExt TCPSynRetrans',
  'TcpExt TCPDSACKRecv',
] as const;

/** `Tcp: RetransSegs …` above `Tcp: 7 …`, and `Ip6InDiscards  0` of snmp6. */
function parseTables(text: string): Map<string, number> {
  const found = new Map<string, number>();
  let names: string[] = [];
  for (const line of text.split('\n')) {
    const six = /^(Ip6|Udp6)(\S+)\s+(\d+)$/.exec(line);
    if (six !== null) found.set(`${six[1]} ${six[2]}`, Number(six[3]));
    const [table, ...words] = line.split(' ');
    if (!table.endsWith(':')) continue;
    if (words.every((word) => /^-?\d+$/.test(word))) {
      names.forEach((name, at) => {
        found.set(`${table.slice(0, -1)} ${name}`, Number(words[at]));
      });
    } else names = words;
  }
  return found;
}

/** Drops of the sockets in a /proc/net/udp: the last column. */
function socketDrops(text: string): number {
  return text
    .split('\n')
    .filter((line) => /^\s*\d+:/.test(line))
    .reduce((sum, line) => sum + Number(line.trim().split(/\s+/).at(-1)), 0);
}

export function readCounters(lab: Lab): Counters {
  const counters = new Map<string, number>();
  for (const namespace of lab.namespaces) {
    const set = (name: string, value: number) => counters.set(`${namespace.role} ${name}`, value);
    for (const { ifname, stats64 } of JSON.parse(namespace.run('ip', ['-s', '-s', '-j', 'link', 'show'])) as Link[]) {
      for (const way of ['rx', 'tx'] as const) {
        for (const [word, value] of Object.entries(stats64[way])) {
          // A bridge counts as `nohandler` what nobody asked for: no loss.
          if (/drop|err|miss/.test(word)) set(`${ifname} ${way} ${word}`, value);
        }
      }
    }
    for (const { kind, dev, drops } of JSON.parse(namespace.run('tc', ['-s', '-j', 'qdisc', 'show'])) as Queue[]) {
      set(`${dev} queue ${kind} drops`, drops ?? 0);
    }
    set('UDP socket drops', socketDrops(namespace.run('cat', ['/proc/net/udp', '/proc/net/udp6'])));
    const tables = parseTables(namespace.run('cat', ['/proc/net/snmp', '/proc/net/netstat', '/proc/net/snmp6']));
    for (const name of [...LOSSES, ...AGAIN]) {
      const value = tables.get(name);
      if (value === undefined) throw new Error(`this kernel does not count ${name}`);
      set(name, value);
    }
  }
  return counters;
}

/** What was lost between two readings, by name; a counter that came in between counts from 0. */
export function losses(before: Counters, after: Counters): Map<string, number> {
  const found = new Map<string, number>();
  for (const [name, value] of after) {
    if (AGAIN.some((word) => name.endsWith(` ${word}`))) continue;
    const lost = value - (before.get(name) ?? 0);
    if (lost !== 0) found.set(name, lost);
  }
  return found;
}

/** Drops of every device (both directions, and its queue) and of all UDP sockets, by role: `client: eth0 0, lo 0, UDP sockets 0; router: …`. */
export function dropsByDevice(before: Counters, after: Counters): string {
  const roles = new Map<string, Map<string, number>>();
  for (const [name, value] of after) {
    const found = /^(\S+) (?:(\S+) (?:[rt]x dropped|queue \S+ drops)|(UDP socket)\b)/.exec(name);
    if (found === null) continue;
    const [, role, device, socket] = found;
    const drops = roles.get(role) ?? new Map<string, number>();
    roles.set(role, drops);
    const where = device ?? `${socket}s`;
    drops.set(where, (drops.get(where) ?? 0) + value - (before.get(name) ?? 0));
  }
  const list = (drops: ReadonlyMap<string, number>) => [...drops].map(([where, count]) => `${where} ${count}`).join(', ');
  return [...roles].map(([role, drops]) => `${role}: ${list(drops)}`).join('; ');
}

/** Retransmitted segments of a role between two readings, and the words of why when there were any. */
export function sentAgain(before: Counters, after: Counters, role: string): { segments: number; why: string } {
  const of = (word: string) => (after.get(`${role} ${word}`) ?? 0) - (before.get(`${role} ${word}`) ?? 0);
  const why = AGAIN.filter((word) => of(word) !== 0).map((word) => `${word.split(' ')[1]} ${of(word)}`);
  return { segments: of('Tcp RetransSegs'), why: why.join(', ') };
}

/** How many counters are looked at. */
export function lossCounters(counters: Counters): number {
  return [...counters.keys()].filter((name) => !AGAIN.some((word) => name.endsWith(` ${word}`))).length;
}
