/** The doctor on a worker. */
import { type Found, type Report, reportOf } from '../finding.ts';
import { WORKER_AREAS } from './areas.ts';
import { checkArp, checkServices, checkVips } from './check-addresses.ts';
import { checkDecapsulation, kernelTunnels } from './check-decapsulation.ts';
import { checkDevices } from './check-device.ts';
import { checkFirewall } from './check-firewall.ts';
import { checkDamage, checkMtu, checkReversePath, checkWaysBack } from './check-kernel.ts';
import type { WorkerFacts } from './facts.ts';
import { incoming } from './incoming-links.ts';
import type { WorkerWanted } from './wanted.ts';

/** `configured`: what is wanted is of a configuration, so this host should be one of its backends. */
export function judgeWorker(facts: WorkerFacts, wanted: WorkerWanted, configured: boolean): Report {
  const stranger: Found[] = wanted.stranger
    ? [
        {
          id: 'not-a-backend',
          level: 'warning',
          text: 'no backend of the configuration is an address of this host: what all its pools want is looked for',
          fix: 'ip address show',
        },
      ]
    : [];
  const found = [
    ...stranger,
    ...checkMtu(facts, wanted),
    ...checkFirewall(facts, wanted),
    ...checkDecapsulation(facts, wanted),
    ...checkDevices(facts, wanted),
    ...checkReversePath(facts, wanted),
    ...checkVips(facts, wanted),
    ...checkArp(facts, wanted),
    ...checkDamage(facts),
    ...checkServices(facts, wanted),
    ...checkWaysBack(facts, wanted),
  ];
  const unseen = new Set<string>();
  if (!configured) unseen.add('identity');
  if (incoming(facts, wanted).length === 0) unseen.add('link-mtu');
  if (kernelTunnels(facts, wanted).length === 0) unseen.add('tunnel-device');
  if (found.some(({ id }) => id === 'input-unknown')) unseen.add('firewall');
  if (!wanted.vips.some(({ port }) => port !== null)) unseen.add('service');
  if (!wanted.vips.some(({ address }) => address.length === 4)) for (const id of ['reverse-path', 'arp']) unseen.add(id);
  return reportOf('worker', WORKER_AREAS, found, unseen);
}
