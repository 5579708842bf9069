/**
 * Loop guards: a service prefix must not contain an address that the director or its host needs, or our own packets would come
 * back to us. The configuration's own addresses are checked when it is read; these are the ones that only the host knows.
 */
import { formatAddress, formatPrefix, type Prefix, prefixContains } from '../base/address.ts';
import { EXIT } from '../base/errors.ts';
import { RT_TABLE_MAIN } from '../raw-socket/netlink-route.ts';
import { listAddresses } from './addresses.ts';
import type { Path } from './check-paths.ts';
import type { Finding } from './finding.ts';
import type { Link } from './links.ts';
import { listOwnRoutes, ROUTE_PROTOCOL, routeTo, type TableRoute, tableRouteTo } from './routes.ts';
import { isLive, servicePrefixes, type Wanted } from './wanted.ts';

/** Addresses that nobody routes on its own (0.0.0.1, and the first of a block never given out): the way to them is the default route. */
const SOMEWHERE = [Uint8Array.of(0, 0, 0, 1), Uint8Array.of(0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)];

interface Needed {
  readonly address: Uint8Array;
  /** `the address of eth0`, `the next hop of the default route` … */
  readonly role: string;
  /** The command that gives the address up, where it can be done without. */
  readonly fix: string;
}

function neededAddresses(wanted: Wanted, links: readonly Link[], paths: readonly Path[]): Needed[] {
  const needed: Needed[] = [];
  const defaults = SOMEWHERE.map((probe) => routeTo(probe, links));
  for (const { address, interfaceIndex, prefixLength } of listAddresses()) {
    const name = links.find((link) => link.index === interfaceIndex)?.name ?? `#${interfaceIndex}`;
    // Whoever reads this may be here by that very address.
    const uplink = defaults.some((route) => route?.interfaceIndex === interfaceIndex);
    const fix = uplink ? '' : `ip address del ${formatAddress(address)}/${prefixLength} dev ${name}`;
    needed.push({ address, role: `an address of ${name}`, fix });
  }
  for (const route of defaults) {
    const gateway = route?.gateway ?? null;
    if (gateway !== null) needed.push({ address: gateway, role: 'the next hop of the default route', fix: '' });
  }
  const hops = new Set(needed.map(({ address }) => formatAddress(address)));
  for (const { backend, route } of paths) {
    needed.push({ address: backend.address, role: `backend ${backend.pool}/${backend.name}`, fix: '' });
    const gateway = route?.gateway ?? null;
    if (gateway === null || hops.has(formatAddress(gateway))) continue;
    hops.add(formatAddress(gateway));
    needed.push({ address: gateway, role: `the next hop to backend ${backend.pool}/${backend.name}`, fix: '' });
  }
  for (const address of wanted.tunnelSources) needed.push({ address, role: 'a tunnel source', fix: '' });
  return needed;
}

function namesOf(wanted: Wanted, prefix: Prefix): string[] {
  const text = formatPrefix(prefix);
  return wanted.services.filter((service) => formatPrefix(service.prefix) === text).map(({ name }) => name);
}

function servicesOf(wanted: Wanted, prefix: Prefix): string {
  const text = formatPrefix(prefix);
  const names = namesOf(wanted, prefix);
  return `the prefix ${text} of service ${names[0]}${names.length > 1 ? ` (and ${names.length - 1} more)` : ''}`;
}

export function checkPrefixes(wanted: Wanted, links: readonly Link[], paths: readonly Path[]): Finding[] {
  if (!isLive(wanted.ingress)) return [];
  const needed = neededAddresses(wanted, links, paths);
  const own = listOwnRoutes();
  return servicePrefixes(wanted).flatMap((prefix): Finding[] => {
    const conflicts = needed
      .filter(({ address }) => prefixContains(prefix, address))
      .map(
        ({ address, role, fix }): Finding => ({
          id: 'prefix-conflict',
          level: 'error',
          text: `${servicesOf(wanted, prefix)} contains ${formatAddress(address)}, ${role}: its packets would never leave, or come back to us`,
          // An address within a wide prefix is no copy of the service's own: the prefix is what is wrong.
          fix: prefix.length === prefix.bytes.length * 8 ? fix : '',
          service: namesOf(wanted, prefix)[0],
          exitCode: EXIT.CONFIG,
        }),
      );
    return conflicts.length > 0 ? conflicts : checkCompetitor(wanted, prefix, links, own);
  });
}

/**
 * A route of somebody else that decides about the prefix in place of ours. Where a route of ours is there (a director runs) and the kernel takes another, it is in the way however short its
 * prefix: a rule sends packets to another table first.
 */
function checkCompetitor(wanted: Wanted, prefix: Prefix, links: readonly Link[], own: readonly TableRoute[]): Finding[] {
  const text = formatPrefix(prefix);
  const ours = own.filter((route) => formatPrefix(route.prefix) === text);
  const route = tableRouteTo(prefix.bytes);
  const before = (more: Pick<Finding, 'text' | 'fix'>): Finding[] => [
    { id: 'route-conflict', service: namesOf(wanted, prefix)[0], level: 'error', ...more },
  ];
  const family = prefix.bytes.length === 4 ? '' : ' -6';
  // Rules are asked in the order of their numbers; 0 is that of the host's own addresses.
  const first = `ip${family} rule add pref 1 to ${text} lookup main`;
  if (route === null) {
    // What drops is not named by IPv4; it may be a route of ours that does.
    if (!ours.some(({ type }) => type === 'unicast')) return [];
    return before({
      text: `${servicesOf(wanted, prefix)} has a route to us, and a rule or route before it drops its packets`,
      fix: first,
    });
  }
  if (route.protocol === ROUTE_PROTOCOL) return [];
  const shorter = route.prefix.length < prefix.length;
  if (shorter && ours.length === 0) return [];
  const name = links.find((link) => link.index === route.interfaceIndex)?.name;
  const type = route.type === 'unicast' || route.type === 'local' || route.type === 'other' ? '' : `${route.type} `;
  const table = route.table === RT_TABLE_MAIN ? '' : ` table ${route.table}`;
  const described = `${type}${formatPrefix(route.prefix)}${name === undefined ? '' : ` dev ${name}`}${table}`;
  return before({
    text: `${servicesOf(wanted, prefix)} is ${ours.length > 0 ? '' : 'already '}routed elsewhere (${described}): the kernel would not leave its packets to us`,
    fix: shorter ? first : `ip${family} route del ${described}${route.metric === 0 ? '' : ` metric ${route.metric}`}`,
  });
}
