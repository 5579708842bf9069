/** The doctor on a director: everything that `run` looks at before it starts, the ways to the backends tried, and what a running director says. */
import { readFileSync } from 'node:fs';
import { missingCapabilities } from '../host/check-process.ts';
import { checkHost } from '../host/checks.ts';
import type { Finding } from '../host/finding.ts';
import { listLinks } from '../host/links.ts';
import { routeTo } from '../host/routes.ts';
import { isLive, servicePrefixes, type Wanted } from '../host/wanted.ts';
import type { ServiceSpec } from '../pipeline/spec.ts';
import { judgeArrivals, watchArrivals } from './arrivals.ts';
import { DIRECTOR_AREAS } from './director-areas.ts';
import { type Found, type Report, reportOf } from './finding.ts';
import { answeringText, judgePaths } from './judge-paths.ts';
import { conntrackFill, judgeConntrack, judgeKernel, type KernelUse, kernelFacts } from './kernel-features.ts';
import { interfaceOffloads, judgeOffloads } from './offloads.ts';
import { withPolicies } from './oversize.ts';
import { probePaths, type Target } from './path-probes.ts';
import { judgeXdp, xdpFacts } from './xdp.ts';

export interface DirectorQuestion {
  readonly wanted: Wanted;
  readonly use: KernelUse;
  /** What they do with packets that do not fit. */
  readonly services: readonly Pick<ServiceSpec, 'name' | 'oversize'>[];
  /** Backends to try. Empty: nothing is sent. */
  readonly targets: readonly Target[];
  /** What is known of the running director (running.ts); `runs`: one was asked and answered. */
  readonly running: { readonly runs: boolean; readonly found: readonly Found[] };
}

/** Looks, sends probes to the backends, changes nothing. About two seconds. Throws NetlinkError when the kernel can not be asked. */
export async function examineDirector({ wanted, use, services, targets, running }: DirectorQuestion): Promise<Report> {
  const live = isLive(wanted.ingress);
  const missing = missingCapabilities(readFileSync('/proc/self/status', 'utf8'));
  const host = checkHost(wanted).map((finding) => asUser(finding, missing.length > 0 && process.geteuid?.() !== 0, running.runs));
  const [probed, arrived] = await Promise.all([
    live && targets.length > 0 ? probePaths(targets) : null,
    live && wanted.services.length > 0 ? watchArrivals(servicePrefixes(wanted)) : null,
  ]);
  const ways = probed === null ? [] : judgePaths(probed);
  const found: Found[] = [
    ...running.found,
    ...host.filter((finding) => finding !== null),
    ...judgeKernel(kernelFacts(), use),
    ...examineXdp(wanted, use.threads),
    ...judgeConntrack(conntrackFill()),
    ...judgeOffloads(interfaceOffloads(interfacesOf(wanted))),
    ...judgeArrivals(arrived ?? []),
    ...ways,
  ];
  const unseen = new Set<string>();
  if (!running.runs) unseen.add('director');
  if (arrived === null || arrived.length === 0) unseen.add('arrivals');
  const answering = probed === null ? null : answeringText(probed);
  if (answering === null) unseen.add('workers');
  if (ways.some(({ id, level }) => id === 'path-not-probed' && level === 'skipped')) unseen.add('workers');
  const areas = DIRECTOR_AREAS.map((area) => (area.id === 'workers' ? { ...area, good: answering ?? area.good } : area));
  return reportOf('director', areas, withPolicies(found, services), unseen);
}

/**
 * What a look by somebody without privilege is worth: that he may not be a director says nothing of the director, and a firewall that he may not see was not looked at.
 * null: nothing to say.
 */
function asUser({ id, level, text, fix }: Finding, unprivileged: boolean, runs: boolean): Found | null {
  if (!unprivileged) return { id, level, text, fix };
  const again = 'sudo gue-director doctor';
  if (id === 'capability-missing' || id === 'tun-denied') {
    if (runs) return null;
    return { id, level: 'skipped', text: `${text}; whether the director will have it is not known from here`, fix: again };
  }
  return id === 'firewall-unknown' ? { id, level: 'skipped', text, fix: again } : { id, level, text, fix };
}

function examineXdp({ ingress, egressInterface = null, egressQueues = false }: Wanted, threads: number): Found[] {
  const egress = egressQueues ? egressInterface : null;
  const use = { ingress: ingress.driver === 'xdp' ? ingress.interface : null, egress, threads };
  if (use.ingress === null && use.egress === null) return [];
  const present = listLinks().map(({ name }) => name);
  return judgeXdp(xdpFacts(use, present), use);
}

/** Where packets of services come in by, and where tunnels leave by. */
function interfacesOf(wanted: Wanted): { name: string; incoming: boolean }[] {
  const links = listLinks();
  const { ingress } = wanted;
  const names = new Map<string, boolean>();
  for (const { address } of wanted.backends) {
    const name = routeTo(address, links)?.interface ?? '';
    if (name !== '' && name !== 'lo') names.set(name, !('interface' in ingress));
  }
  // An xdp driver has the packets before anything merges them.
  if ('interface' in ingress) names.set(ingress.interface, ingress.driver !== 'xdp');
  return [...names].map(([name, incoming]) => ({ name, incoming }));
}
