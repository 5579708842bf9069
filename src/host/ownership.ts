/**
 * What `run` changes on the host, and giving it back. The kernel itself is the journal: our routes carry a protocol number, our
 * nftables table a name, so whoever comes next (our own next start, or `clean`) knows them without a file.
 *
 *     lookup of a service prefix, best first:          while we live           after kill -9         after release
 *       PREFIX dev gd0 metric 0 (IPv6 1024)            wins: to us (tun, tap)  gone with the device  gone
 *       blackhole PREFIX metric 4294967294             wins with `packet`      wins: silence         gone
 *       default via ROUTER                             never                   never                 to the router
 *
 * Without the blackhole a service's packets would follow the default route back to the router that sent them, until their
 * TTL ends. With `packet` the kernel holds the original of each packet we copy: the blackhole makes it vanish in silence.
 */
import { formatAddress, formatPrefix } from '../base/address.ts';
import { CodedError } from '../base/errors.ts';
import { NamespaceLock } from '../raw-socket/namespace-lock.ts';
import { withNetlink } from '../raw-socket/netlink.ts';
import { addAddress, listAddresses } from './addresses.ts';
import type { Finding } from './finding.ts';
import { type Link, listLinks, requireLink, setLink } from './links.ts';
import { installNotrack, notrackFindings, notrackInstalled, notrackRules, removeNotrack } from './notrack.ts';
import { prepareOffloadDevice } from './offload-device.ts';
import { asReleaseError, removeAllOwned } from './owned.ts';
import { addOwnRoute, deleteOwnRoute, listOwnRoutes, type OwnRoute, type TableRoute } from './routes.ts';
import { readSysctl } from './sysctl.ts';
import { hasBackends, isLive, routedDevice, servicePrefixes, type Wanted, type WantedIngress } from './wanted.ts';

/** Abstract unix socket of the network namespace: `@gue-director` in `ss -xl`. */
export const LOCK_NAME = 'gue-director';

/** Below every other route. 4294967295 is the kernel's own "no route" in IPv6. */
const LAST_METRIC = 4294967294;
/** What `ip route add` gives a route without a metric. */
const FIRST_METRIC = { 4: 0, 16: 1024 } as const;

/** The kernel must never answer "fragmentation needed" in our place: what is too big is our decision (traps: TUN). */
const TUN_MTU = 65535;
/** A TAP takes no more: its frames have an Ethernet header (drivers/net/tun.c: MAX_MTU − hard_header_len). */
const TAP_MTU = TUN_MTU - 14;
const LEAST_QUEUE = 10_000;
/**
 * The kernel's own address on a TAP's link, fe80::1: without a link-local address it solicits no neighbour. A fixed one, because an
 * address that the kernel makes may not be used before a second of duplicate address detection.
 */
const TAP_ADDRESS = Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);

/**
 * Takes the lock of this network namespace. Throws CodedError GD_HOST_OWNED naming the holder's process and user where they can be seen:
 * an abstract name asks nobody's permission, so it need not be a director that has it.
 */
export function takeOwnerLock(): NamespaceLock {
  const lock = NamespaceLock.take(LOCK_NAME);
  if (lock !== null) return lock;
  const holder = NamespaceLock.holder(LOCK_NAME);
  const find = `find it with: ss -xap src @${LOCK_NAME}`;
  if (holder === null) {
    throw new CodedError(
      'GD_HOST_OWNED',
      `a program that does not say who it is holds the lock @${LOCK_NAME} of this network namespace`,
      {
        hint: find,
      },
    );
  }
  const { process, user } = holder;
  const who = process === 0 ? `a process of user ${user}` : `process ${process} of user ${user}`;
  throw new CodedError('GD_HOST_OWNED', `another gue-director (${who}) holds the lock @${LOCK_NAME} of this network namespace`, {
    hint:
      process === 0 ? find : `look at it with: ps -fp ${process}; when it is no gue-director, it keeps one from starting: end it`,
  });
}

type DeviceIngress = Extract<WantedIngress, { driver: 'tun' | 'tap' }>;

function keyOf(route: OwnRoute | TableRoute): string {
  return `${route.type} ${formatPrefix(route.prefix)} ${route.metric} ${route.interfaceIndex}`;
}

function wantedBlackholes(wanted: Wanted): OwnRoute[] {
  if (!isLive(wanted.ingress)) return [];
  return servicePrefixes(wanted).map((prefix) => ({ prefix, type: 'blackhole', metric: LAST_METRIC, interfaceIndex: 0 }));
}

function wantedRoutes(wanted: Wanted): OwnRoute[] {
  const { ingress } = wanted;
  const prefixes = servicePrefixes(wanted);
  const routes = wantedBlackholes(wanted);
  const device = routedDevice(ingress);
  if (device === null) return routes;
  const { index: interfaceIndex } = requireLink(device);
  for (const prefix of prefixes) {
    const metric = FIRST_METRIC[prefix.bytes.length as 4 | 16];
    // Every address of a wide prefix as a neighbour of its own would fill the neighbour table at any client's will: one stands for all.
    const wide = ingress.driver === 'tap' && prefix.length < prefix.bytes.length * 8;
    routes.push({ prefix, type: 'unicast', metric, interfaceIndex, gateway: wide ? prefix.bytes : null });
  }
  return routes;
}

/** Sets our own TUN or TAP device up. Its settings vanish with it, so there is nothing to give back. */
function prepareDevice(ingress: DeviceIngress): void {
  const link = requireLink(ingress.device);
  if (link.kind !== 'tun') {
    throw new CodedError('GD_HOST_NOT_TUN', `the interface "${link.name}" is not a TUN or TAP device of ours`, {
      hint: 'choose another name in ingress.device',
    });
  }
  const mtu = ingress.driver === 'tun' ? TUN_MTU : TAP_MTU;
  const length = Math.max(ingress.queueLength, LEAST_QUEUE);
  if (link.mtu !== mtu || link.queueLength !== length) setLink(link, { mtu, queueLength: length });
  const bridge = ingress.driver === 'tap' && ingress.bridge !== null ? requireBridge(ingress.bridge) : null;
  if (bridge !== null && link.master !== bridge.index) setLink(link, { master: bridge.index });
  // Without IPv6 in the kernel there is no such setting, and a request for it fails.
  if (!link.up) setLink(link, { ...(hasIpv6() ? { ipv6LinkLocal: false } : {}), up: true });
  if (ingress.driver === 'tap' && bridge === null) giveTapAddress(link);
}

/** False on a kernel without IPv6 (ipv6.disable=1). */
function hasIpv6(): boolean {
  return readSysctl('net/ipv6/conf/all/disable_ipv6') !== null;
}

function giveTapAddress(link: Link): void {
  if (readSysctl(`net/ipv6/conf/${link.name}/disable_ipv6`) !== '0') return;
  const text = formatAddress(TAP_ADDRESS);
  const present = listAddresses().some((one) => one.interfaceIndex === link.index && formatAddress(one.address) === text);
  if (!present) addAddress(link, TAP_ADDRESS, 64);
}

function requireBridge(name: string): Link {
  const link = requireLink(name);
  if (link.kind === 'bridge') return link;
  throw new CodedError('GD_HOST_NOT_BRIDGE', `the interface "${name}" is not a bridge`, {
    hint: 'ip link show type bridge',
  });
}

export class Ownership {
  #lock: NamespaceLock | null = null;
  /** Everything that this process wishes is in the kernel, and nothing else of ours. */
  #changed = false;
  /** Blackholes that `silence` added: all that is ours before `apply`. */
  #silenced: OwnRoute[] = [];
  #rules = '';

  /** Claims this network namespace. Does nothing when we hold it. Throws CodedError GD_HOST_OWNED when another process does. */
  lock(): void {
    this.#lock ??= takeOwnerLock();
  }

  /** The lock, for the process that takes over; null when it is not held. */
  get lockDescriptor(): number | null {
    return this.#lock?.descriptor ?? null;
  }

  /** Goes on where another process was that sent us its lock: what is ours in the kernel stays, and `apply` has seen to it. */
  inherit(lock: number): void {
    this.#lock = NamespaceLock.inherit(lock);
    this.#changed = true;
  }

  /** Another process may have changed what is ours in the kernel: the next `apply` does not rely on what this one did before. */
  distrust(): void {
    this.#rules = '';
  }

  /** Another process has everything now: lets go of the lock, which it has too, and takes nothing away. */
  leave(): void {
    this.#lock?.release();
    this.#lock = null;
  }

  /**
   * Adds the blackholes of `wanted`, which need no device, and nothing else: to be called before a driver is opened, for what a `packet`
   * ingress copies the kernel must not forward as well. What a crashed predecessor left stays. When it fails, its additions are taken
   * back and the error is thrown (see `acquire`).
   */
  silence(wanted: Wanted): void {
    const names = new Map<number, string>();
    const present = new Set(listOwnRoutes().map(keyOf));
    const missing = wantedBlackholes(wanted).filter((route) => !present.has(keyOf(route)));
    withNetlink((socket) => {
      try {
        for (const route of missing) {
          addOwnRoute(socket, route, names);
          this.#silenced.push(route);
        }
      } catch (error) {
        for (const route of this.#silenced.splice(0)) deleteOwnRoute(socket, route, names);
        throw error;
      }
    });
  }

  /**
   * Makes the host ready for `wanted`, taking over what a crashed predecessor left. With `tun` and `tap` the device must exist. When it fails,
   * the host is as it was found and the lock free before the error is thrown: GD_HOST_OWNED, GD_HOST_NO_INTERFACE, GD_HOST_NOT_TUN,
   * GD_HOST_NOT_BRIDGE, GD_HOST_ROUTE_TAKEN, GD_HOST_NFT, NetlinkError. Returns what could not be done and is no reason to stop.
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
    if (ingress.driver === 'tun' || ingress.driver === 'tap') prepareDevice(ingress);
    if (wanted.egressDevice !== null) prepareOffloadDevice(wanted.egressDevice, hasBackends(wanted, 16));
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
   * crashed predecessor's blackholes where they are: they still keep packets from bouncing. `keepBlackholes`: so do ours, for a director
   * that could not go on and whose successor is about to start.
   */
  release({ keepBlackholes = false }: { keepBlackholes?: boolean } = {}): CodedError[] {
    if (this.#lock === null) return [];
    const failures: CodedError[] = [];
    if (this.#changed) failures.push(...removeAllOwned(keepBlackholes));
    else if (!keepBlackholes) failures.push(...this.#unsilence());
    this.#silenced = [];
    this.#changed = false;
    this.#rules = '';
    this.#lock.release();
    this.#lock = null;
    return failures;
  }

  #unsilence(): CodedError[] {
    try {
      withNetlink((socket) => {
        for (const route of this.#silenced) deleteOwnRoute(socket, route, new Map());
      });
      return [];
    } catch (error) {
      return [asReleaseError('remove the blackhole routes', error)];
    }
  }
}
