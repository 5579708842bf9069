// What the kernels of a lab have counted, from /proc/net of a namespace.

import type { Namespace } from '../../src/demo/lab/namespace.ts';

/** `Tcp RetransSegs` of /proc/net/snmp, whose lines come in pairs: names, then values. */
function counter4(text: string, group: string, name: string): number {
  const [names, values] = text.split('\n').filter((line) => line.startsWith(`${group}:`));
  return Number(values.split(' ')[names.split(' ').indexOf(name)]);
}

function counter6(text: string, name: string): number {
  return Number(new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(text)?.[1]);
}

/** TCP segments that this host sent a second time. */
export function retransmitted(namespace: Namespace): number {
  return counter4(namespace.run('cat', ['/proc/net/snmp']), 'Tcp', 'RetransSegs');
}

/** Packets that this router did not forward because they were larger than the next link, each answered with ICMP. */
export function refusedForSize(namespace: Namespace): { readonly 4: number; readonly 6: number } {
  return {
    4: counter4(namespace.run('cat', ['/proc/net/snmp']), 'Ip', 'FragFails'),
    6: counter6(namespace.run('cat', ['/proc/net/snmp6']), 'Ip6FragFails'),
  };
}

/** Datagrams lost because a program did not read fast enough. */
export function overflown(namespace: Namespace): number {
  const four = counter4(namespace.run('cat', ['/proc/net/snmp']), 'Udp', 'RcvbufErrors');
  return four + counter6(namespace.run('cat', ['/proc/net/snmp6']), 'Udp6RcvbufErrors');
}
