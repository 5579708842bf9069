/** The probe of each kind of check. */
import { dnsProbe } from './dns.ts';
import { httpProbe } from './http.ts';
import type { Probe, ProbeResources } from './probe.ts';
import type { CheckSpec } from './spec.ts';
import { tcpProbe } from './tcp.ts';
import { udpProbe } from './udp.ts';

export function createProbe(check: CheckSpec, resources: ProbeResources): Probe {
  switch (check.type) {
    case 'tcp':
      return tcpProbe(check);
    case 'http':
    case 'https':
      return httpProbe(check, resources.stale);
    case 'udp':
      return udpProbe(check);
    case 'dns':
      return dnsProbe(check);
    case 'icmp':
      return resources.ping();
    default:
      return resources.tunnel(check);
  }
}
