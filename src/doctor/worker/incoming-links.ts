/** By which interfaces of a worker tunnel packets come in. */
import { sameAddress } from '../../base/address.ts';
import { outerFamilies } from './check-decapsulation.ts';
import type { FactLink, WorkerFacts } from './facts.ts';
import type { WorkerWanted } from './wanted.ts';

/** Kinds of device through which nothing comes from the network. */
const INNER_KINDS = new Set([
  'ipip',
  'sit',
  'ip6tnl',
  'gre',
  'ip6gre',
  'gretap',
  'ip6gretap',
  'dummy',
  'tun',
  'ifb',
  'vti',
  'vti6',
  'erspan',
  'ip6erspan',
]);

export function outward(links: readonly FactLink[]): FactLink[] {
  return links.filter(({ up, loopback, kind, addresses }) => up && !loopback && !INNER_KINDS.has(kind) && addresses.length > 0);
}

/** Names of the interfaces of the default routes. */
export const uplinks = (facts: WorkerFacts, wanted: WorkerWanted) =>
  new Set(outerFamilies(wanted).map((family) => facts.uplink(family)));

/**
 * By which tunnel packets come in: the interfaces that have an address directors send to, as the configuration tells; where none has (it is on `lo`, or nobody told), those of
 * the default routes. Other interfaces, of containers, overlays and VPNs, are nobody's business here.
 */
export function incoming(facts: WorkerFacts, wanted: WorkerWanted): FactLink[] {
  const links = outward(facts.links);
  const holders = links.filter(({ addresses }) =>
    addresses.some(({ bytes }) => wanted.endpoints.some((endpoint) => sameAddress(endpoint, bytes))),
  );
  const names = uplinks(facts, wanted);
  return holders.length > 0 ? holders : links.filter(({ name }) => names.has(name));
}
