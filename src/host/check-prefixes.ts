/**
 * Loop guards: a service prefix must not contain an address that the director or its host needs, or our own packets would come
 * back to us. The configuration's own addresses are checked when it is read; these are the ones that only the host knows.
 */
import { formatAddress, formatPrefix, type Prefix, prefixContains } from '../base/address.ts';
import { EXIT } from '../base/errors.ts';
import { listAddresses } from './addresses.ts';
import type { Path } from './check-paths.ts';
import type { Finding } from './finding.ts';
import type { Link } from './links.ts';
import { ROUTE_PROTOCOL, routeTo, tableRouteTo } from './routes.ts';
import { isLive, servicePrefixes, type Wanted } from './wanted.ts';

/** Addresses that nobody routes on its own (0.0.0.1, and the first of a block never given out): the way to them is the default route. */
const SOMEWHERE = [Uint8Array.of(0, 0, 0, 1), Uint8Array.of(0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)];

interface Needed {
  readonly address: Uint8Array;
  /** `the address of eth0`, `the next hop of the default route` … */
  readonly role: string;
  readonly fix: string;
}

function neededAddresses(wanted: Wanted, links: readonly Link[], paths: readonly Path[]): Needed[] {
  const needed: Needed[] = [];
  for (const { address, interfaceIndex, prefixLength } of listAddresses()) {
    const name = links.find((link) => link.index === interfaceIndex)?.name ?? `#${interfaceIndex}`;
    needed.push({
      address,
      role: `an address of ${name}`,
      fix: `ip address del ${formatAddress(address)}/${prefixLength} dev ${name}`,
    });
  }
  for (const probe of SOMEWHERE) {
    const gateway = routeTo(probe, links)?.gateway ?? null;
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
  return servicePrefixes(wanted).flatMap((prefix): Finding[] => {
    const conflicts = needed
      .filter(({ address }) => prefixContains(prefix, address))
      .map(
        ({ address, role, fix }): Finding => ({
          id: 'prefix-conflict',
          level: 'error',
          text: `${servicesOf(wanted, prefix)} contains ${formatAddress(address)}, ${role}: its packets would never leave, or come back to us`,
          fix,
          service: namesOf(wanted, prefix)[0],
          exitCode: EXIT.CONFIG,
        }),
      );
    return conflicts.length > 0 ? conflicts : checkCompetitor(wanted, prefix, links);
  });
}

/** A route of somebody else that decides about the prefix in place of ours. */
function checkCompetitor(wanted: Wanted, prefix: Prefix, links: readonly Link[]): Finding[] {
  const route = tableRouteTo(prefix.bytes);
  if (route === null || route.protocol === ROUTE_PROTOCOL || route.prefix.length < prefix.length) return [];
  const name = links.find((link) => link.index === route.interfaceIndex)?.name;
  const text = `${formatPrefix(route.prefix)}${name === undefined ? '' : ` dev ${name}`}`;
  return [
    {
      id: 'route-conflict',
      service: namesOf(wanted, prefix)[0],
      level: 'error',
      text: `${servicesOf(wanted, prefix)} is already routed elsewhere (${text}): the kernel would not leave its packets to us`,
      fix: `ip${prefix.bytes.length === 4 ? '' : ' -6'} route del ${text}${route.metric === 0 ? '' : ` metric ${route.metric}`}`,
    },
  ];
}
