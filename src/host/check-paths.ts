/** Checks of the ways to the backends: is there one, how large a packet fits, and where our packets come from. */
import { formatAddress } from '../base/address.ts';
import type { Finding } from './finding.ts';
import type { Link } from './links.ts';
import { isLocalAddress, type Route, routeTo } from './routes.ts';
import type { Wanted, WantedBackend } from './wanted.ts';

/** The largest packet that clients send over the Internet and Ethernet; a merged or jumbo packet is segmented or refused. */
const CLIENT_MTU = 1500;

/** A backend and the way to it. */
export interface Path {
  readonly backend: WantedBackend;
  readonly route: Route | null;
}

export function findPaths(wanted: Wanted, links: readonly Link[]): Path[] {
  return wanted.backends.map((backend) => ({ backend, route: routeTo(backend.address, links) }));
}

function nameOf({ pool, name, address }: WantedBackend): string {
  return `backend ${pool}/${name} (${formatAddress(address)})`;
}

export function checkReachability(paths: readonly Path[]): Finding[] {
  return paths.flatMap(({ backend, route }): Finding[] => {
    if (route?.type === 'unicast' || route?.type === 'local') return [];
    return [
      {
        id: 'backend-unreachable',
        level: 'warning',
        text: `there is no way to ${nameOf(backend)}: ${route === null ? 'no route' : `a route of type ${route.type}`}`,
        fix: `ip route get ${formatAddress(backend.address)}`,
      },
    ];
  });
}

/** One finding for each interface, or for each route with an MTU of its own, that has too little room. */
export function checkMtu(paths: readonly Path[], links: readonly Link[]): Finding[] {
  const interfaces = new Map<string, { path: Path; mtu: number; needed: number; count: number }>();
  const findings: Finding[] = [];
  for (const path of paths) {
    const { backend, route } = path;
    if (route === null || route.mtu === 0) continue;
    const needed = CLIENT_MTU + backend.overhead;
    if (route.mtu >= needed) continue;
    const linkMtu = links.find((link) => link.index === route.interfaceIndex)?.mtu ?? route.mtu;
    if (linkMtu > route.mtu) {
      findings.push({
        id: 'path-mtu',
        level: 'warning',
        text: `the route to ${nameOf(backend)} carries ${route.mtu} bytes, a full client packet needs ${needed}: larger ones are cut, fragmented or answered (docs/oversize.md)`,
        fix: `ip route get ${formatAddress(backend.address)}`,
      });
      continue;
    }
    const seen = interfaces.get(route.interface);
    interfaces.set(route.interface, {
      path: seen?.path ?? path,
      mtu: route.mtu,
      needed: Math.max(needed, seen?.needed ?? 0),
      count: (seen?.count ?? 0) + 1,
    });
  }
  for (const [name, { path, mtu, needed, count }] of interfaces) {
    const others = count === 1 ? '' : ` and ${count - 1} more`;
    findings.push({
      id: 'path-mtu',
      level: 'warning',
      text: `the MTU of ${name} is ${mtu}, but a full client packet to ${nameOf(path.backend)}${others} needs ${needed} with its outer headers`,
      // A director believes its interface: where a link or worker behind it carries less, what was cut before vanishes then.
      fix: `ip link set dev ${name} mtu ${needed}   # only after every switch and worker on the way carries ${needed} bytes`,
    });
  }
  return findings;
}

export function checkTunnelSources(wanted: Wanted, paths: readonly Path[]): Finding[] {
  return wanted.tunnelSources.flatMap((source): Finding[] => {
    if (isLocalAddress(source)) return [];
    const text = formatAddress(source);
    const way = paths.find(({ backend, route }) => backend.address.length === source.length && route?.type === 'unicast')?.route;
    return [
      {
        id: 'tunnel-source-not-local',
        source,
        level: 'error',
        text: `the tunnel source ${text} is not an address of this host: answers and ICMP about our packets would go elsewhere`,
        // Without duplicate detection an IPv6 address may be used at once.
        fix: `ip address add ${text}/${source.length * 8} dev ${way?.interface ?? 'lo'}${source.length === 4 ? '' : ' nodad'}`,
      },
    ];
  });
}
