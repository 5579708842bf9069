/**
 * What `run` changes on the host, and giving it back. The kernel itself is the journal: our routes carry a protocol number, our
 * nftables table a name, so whoever comes next (our own next start, or `clean`) knows them without a file.
 *
 *     lookup of a service prefix, best first:          while we live           after kill -9         after release
 *       PREFIX dev gd0 metric 0 (IPv6 1024)            wins: to us (tun)       gone with the device  gone
 *       blackhole PREFIX metric 4294967294             wins with `packet`      wins: silence         gone
 *       default via ROUTER                             never                   never                 to the router
 *
 * Without the blackhole a service's packets would follow the default route back to the router that sent them, until their
 * TTL ends. With `packet` the kernel holds the original of each packet we copy: the blackhole makes it vanish in silence.
 */
import { formatPrefix } from '../base/address.ts';
import { CodedError } from '../base/errors.ts';
import { NamespaceLock } from '../raw-socket/namespace-lock.ts';
import { withNetlink } from '../raw-socket/netlink.ts';
import type { Finding } from './finding.ts';
import { listLinks, requireLink, setLink } from './links.ts';
import { installNotrack, notrackFindings, notrackInstalled, notrackRules, removeNotrack } from './notrack.ts';
import { removeAllOwned } from './owned.ts';
import { addOwnRoute, deleteOwnRoute, listOwnRoutes, type OwnRoute, type TableRoute } from './routes.ts';
import { servicePrefixes, type Wanted } from './wanted.ts';

/** Abstract unix socket of the network namespace: `@gue-director` in `ss -xl`. */
export const LOCK_NAME = 'gue-director';

/** Below every other route. 4294967295 is the kernel's own "no route" in IPv6. */
const LAST_METRIC = 4294967294;
/** What `ip route add` gives a route without a metric. */
const FIRST_METRIC = { 4: 0, 16: 1024 } as const;

/** The kernel must never answer "fragmentation needed" in our place: what is too big is our decision (traps: TUN). */
const TUN_MTU = 65535;
const LEAST_QUEUE = 10_000;

/** Takes the lock of this network namespace. Throws CodedError GD_HOST_OWNED naming the holder's process id where it can be seen. */
export function takeOwnerLock(): NamespaceLock {
  const lock = NamespaceLock.take(LOCK_NAME);
  if (lock !== null) return lock;
  const pid = NamespaceLock.holder(LOCK_NAME);
  throw new CodedError(
    'GD_HOST_OWNED',
    `another gue-director ${pid === 0 ? '' : `(process ${pid}) `}runs in this network namespace`,
    {
      hint: pid === 0 ? 'find it with: ss -xlp src @gue-director' : `look at it with: ps -fp ${pid}`,
    },
  );
}

function keyOf(route: OwnRoute | TableRoute): string {
  return `${route.type} ${formatPrefix(route.prefix)} ${route.metric} ${route.interfaceIndex}`;
}

function wantedRoutes(wanted: Wanted): OwnRoute[] {
  const { ingress } = wanted;
  if (ingress.driver !== 'tun' && ingress.driver !== 'packet') return [];
  const prefixes = servicePrefixes(wanted);
  const routes: OwnRoute[] = prefixes.map((prefix) => ({ prefix, type: 'blackhole', metric: LAST_METRIC, interfaceIndex: 0 }));
  if (ingress.driver === 'packet') return routes;
  const { index: interfaceIndex } = requireLink(ingress.device);
  for (const prefix of prefixes) {
    routes.push({ prefix, type: 'unicast', metric: FIRST_METRIC[prefix.bytes.length as 4 | 16], interfaceIndex });
  }
  return routes;
}

/** Sets our own TUN device up. Its settings vanish with it, so there is nothing to give back. */
function prepareDevice(name: string, queueLength: number): void {
  const link = requireLink(name);
  if (link.kind !== 'tun') {
    throw new CodedError('GD_HOST_NOT_TUN', `the interface "${name}" is not a TUN device of ours`, {
      hint: 'choose another name in ingress.device',
    });
  }
  const length = Math.max(queueLength, LEAST_QUEUE);
  if (link.mtu !== TUN_MTU || link.queueLength !== length) setLink(link, { mtu: TUN_MTU, queueLength: length });
  if (!link.up) setLink(link, { ipv6LinkLocal: false, up: true });
}

export class Ownership {
  #lock: NamespaceLock | null = null;
  /** Something of this process's wish is in the kernel. */
  #changed = false;
  #rules = '';

  /** Claims this network namespace. Does nothing when we hold it. Throws CodedError GD_HOST_OWNED when another process does. */
  lock(): void {
    this.#lock ??= takeOwnerLock();
  }

  /**
   * Makes the host ready for `wanted`, taking over what a crashed predecessor left. With `tun` the device must exist. When it fails,
   * the host is as it was found and the lock free before the error is thrown: GD_HOST_OWNED, GD_HOST_NO_INTERFACE, GD_HOST_NOT_TUN,
   * GD_HOST_ROUTE_TAKEN, GD_HOST_NFT, NetlinkError. Returns what could not be done and is no reason to stop.
   */
  acquire(wanted: Wanted): Finding[] {
    this.lock();
    try {
      return this.apply(wanted);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /**
   * Makes the kernel match `wanted`: adds what is missing, then removes what is ours and not wanted. Compares with the kernel, so it
   * also repairs what somebody else removed. When an addition fails, this call's additions are taken back, nothing is removed, and the
   * error is thrown (see `acquire`).
   */
  apply(wanted: Wanted): Finding[] {
    const { ingress } = wanted;
    if (ingress.driver === 'tun') prepareDevice(ingress.device, ingress.queueLength);
    const names = new Map(listLinks().map((link) => [link.index, link.name]));
    const present = new Map(listOwnRoutes().map((route) => [keyOf(route), route]));
    const routes = wantedRoutes(wanted);
    const keep = new Set(routes.map(keyOf));
    const added: OwnRoute[] = [];
    const findings = notrackFindings(wanted);
    withNetlink((socket) => {
      try {
        for (const route of routes) {
          if (present.has(keyOf(route))) continue;
          addOwnRoute(socket, route, names);
          added.push(route);
        }
        findings.push(...this.#applyRules(notrackRules(wanted)));
      } catch (error) {
        for (const route of added.reverse()) deleteOwnRoute(socket, route, names);
        throw error;
      }
      this.#changed = true;
      for (const [key, route] of present) if (!keep.has(key)) deleteOwnRoute(socket, route, names);
    });
    return findings;
  }

  #applyRules(rules: string): Finding[] {
    let findings: Finding[] = [];
    if (rules === '') {
      if (notrackInstalled()) removeNotrack();
    } else if (rules !== this.#rules || !notrackInstalled()) {
      findings = installNotrack(rules);
    }
    this.#rules = rules;
    return findings;
  }

  /**
   * Gives everything back, the lock last. Every step is tried, whatever the others do; returns what could not be undone (the next
   * start adopts it, `gue-director clean` removes it). Does nothing when nothing is held. A start that never came to `acquire` leaves a
   * crashed predecessor's blackholes where they are: they still keep packets from bouncing.
   */
  release(): CodedError[] {
    if (this.#lock === null) return [];
    const failures = this.#changed ? removeAllOwned() : [];
    this.#changed = false;
    this.#rules = '';
    this.#lock.release();
    this.#lock = null;
    return failures;
  }
}
