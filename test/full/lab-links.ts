// What the links of a lab tell, and how its hosts are made to send.

import { cpus } from 'node:os';
import type { Namespace } from '../../src/demo/lab/namespace.ts';
import type { Lab } from '../../src/demo/lab/topology.ts';

/** Packets that any device of the lab dropped. */
export function deviceDrops(lab: Lab): number {
  const script = 'cat /sys/class/net/*/statistics/rx_dropped /sys/class/net/*/statistics/tx_dropped';
  return lab.namespaces.reduce((sum, namespace) => {
    const lines = namespace.run('sh', ['-c', script]).trim().split('\n');
    return sum + lines.reduce((all, line) => all + Number(line), 0);
  }, 0);
}

/** One of /sys/class/net/DEVICE/statistics. */
export function figureOf(namespace: Namespace, device: string, name: string): number {
  return Number(namespace.run('cat', [`/sys/class/net/${device}/statistics/${name}`]));
}

/** Senders without tail loss probes and with a second before a timeout; queues spread over all processors. */
export function patient(lab: Lab): void {
  const processors = (2 ** Math.min(cpus().length, 31) - 1).toString(16);
  for (const namespace of lab.namespaces) {
    namespace.run('sh', ['-e'], `for queue in /sys/class/net/*/queues/rx-*/rps_cpus; do echo ${processors} > $queue; done`);
  }
  for (const namespace of [lab.client, ...lab.workers]) {
    const [gateway4, gateway6] = namespace === lab.client ? ['10.80.0.1', 'fd80::1'] : ['10.80.1.1', 'fd80:0:0:1::1'];
    namespace.sysctl({ 'net.ipv4.tcp_early_retrans': 0 });
    namespace.ip(
      `route replace default via ${gateway4} dev eth0 rto_min 1s`,
      `route del default via ${gateway6} dev eth0`,
      `route add default via ${gateway6} dev eth0 rto_min 1s`,
    );
  }
}
