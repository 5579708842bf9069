/** Routes: which way a packet would go, and the routes that carry our protocol number. */
import { formatAddress, formatPrefix, type Prefix } from '../base/address.ts';
import { CodedError } from '../base/errors.ts';
import { E } from '../raw-socket/library.ts';
import { NetlinkError, type NetlinkSocket, withNetlink } from '../raw-socket/netlink.ts';
import { attribute, decodeAttributes, type Message, NLM_F_CREATE, NLM_F_EXCL, readU32 } from '../raw-socket/netlink-message.ts';
import {
  AF_INET,
  AF_INET6,
  familyOf,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTA_DST,
  RTA_GATEWAY,
  RTA_METRICS,
  RTA_OIF,
  RTA_PREFSRC,
  RTA_PRIORITY,
  RTA_TABLE,
  RTA_VIA,
  RTAX_MTU,
  RTM_DELROUTE,
  RTM_F_FIB_MATCH,
  RTM_F_LOOKUP_TABLE,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTMSG_LENGTH,
  RTN_BLACKHOLE,
  RTN_LOCAL,
  RTN_PROHIBIT,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  RTNH_F_ONLINK,
  rtmsg,
} from '../raw-socket/netlink-route.ts';
import { type Link, listLinks } from './links.ts';

/**
 * The `proto` of every route that is ours (`ip route show proto 77`). 0–4 are the kernel's; iproute2's rt_protos names others up
 * to 18, and 42, 99, 186–189, 192: 77 is free.
 */
export const ROUTE_PROTOCOL = 77;

export type RouteType = 'unicast' | 'local' | 'blackhole' | 'unreachable' | 'prohibit' | 'other';

const TYPES: ReadonlyMap<number, RouteType> = new Map([
  [RTN_UNICAST, 'unicast'],
  [RTN_LOCAL, 'local'],
  [RTN_BLACKHOLE, 'blackhole'],
  [RTN_UNREACHABLE, 'unreachable'],
  [RTN_PROHIBIT, 'prohibit'],
]);

/** A route as the kernel's table has it. */
export interface TableRoute {
  readonly prefix: Prefix;
  readonly type: RouteType;
  /** Lower wins among routes of one prefix. */
  readonly metric: number;
  /** 0 when the route names no interface. */
  readonly interfaceIndex: number;
  readonly table: number;
  readonly protocol: number;
  readonly gateway: Uint8Array | null;
}

/** The way to one address. */
export interface Route {
  /** `unicast` and `local` deliver; the others drop, in silence or not. */
  readonly type: RouteType;
  /** Empty and 0 for a route that drops. */
  readonly interface: string;
  readonly interfaceIndex: number;
  /** Next hop, 4 or 16 bytes (its family may differ from the destination's); null when the address is on the link. */
  readonly gateway: Uint8Array | null;
  /** The source address the kernel would choose; null for a route that drops. */
  readonly source: Uint8Array | null;
  /** Largest IP packet for this destination: the route's own MTU or a learned path MTU, else the interface's. 0 for a route that drops. */
  readonly mtu: number;
}

function unsigned(value: Uint8Array | undefined): number {
  return value === undefined ? 0 : readU32(value);
}

function gatewayOf(attributes: Map<number, Uint8Array>): Uint8Array | null {
  // RTA_VIA: a next hop of the other family, behind a 16-bit family number.
  return attributes.get(RTA_GATEWAY) ?? attributes.get(RTA_VIA)?.subarray(2) ?? null;
}

function decodeRoute({ body }: Message): TableRoute {
  const attributes = decodeAttributes(body, RTMSG_LENGTH);
  const bytes = attributes.get(RTA_DST) ?? new Uint8Array(body[0] === AF_INET ? 4 : 16);
  const type = TYPES.get(body[7]) ?? 'other';
  return {
    prefix: { bytes, length: body[1] },
    type,
    metric: unsigned(attributes.get(RTA_PRIORITY)),
    // The kernel hangs IPv6 blackholes on `lo`; they belong to no interface.
    interfaceIndex: type === 'unicast' ? unsigned(attributes.get(RTA_OIF)) : 0,
    table: unsigned(attributes.get(RTA_TABLE)) || body[4],
    protocol: body[5],
    gateway: gatewayOf(attributes),
  };
}

/** Every route of ours, in any table. The kernel filters, so a full Internet table costs nothing. Throws NetlinkError. */
export function listOwnRoutes(): TableRoute[] {
  return withNetlink((socket) =>
    [AF_INET, AF_INET6].flatMap((family) =>
      socket
        .dump('list of routes', RTM_GETROUTE, rtmsg({ family, protocol: ROUTE_PROTOCOL }))
        // A kernel without IPv6 answers for every family that it has.
        .filter((message) => message.type === RTM_NEWROUTE && message.body[0] === family)
        .map(decodeRoute)
        .filter((route) => route.protocol === ROUTE_PROTOCOL),
    ),
  );
}

/** What a route of ours is made of. */
export interface OwnRoute {
  readonly prefix: Prefix;
  readonly type: 'unicast' | 'blackhole';
  readonly metric: number;
  /** 0 for a blackhole. */
  readonly interfaceIndex: number;
  /** A neighbour on the interface's link to which everything goes; null or absent: each destination is its own neighbour. */
  readonly gateway?: Uint8Array | null;
}

/** As `ip route` would print it. */
export function describeRoute(
  route: { prefix: Prefix; type: RouteType; metric: number; interfaceIndex: number },
  names: ReadonlyMap<number, string>,
): string {
  const type = route.type === 'unicast' ? '' : `${route.type} `;
  const device = route.interfaceIndex === 0 ? '' : ` dev ${names.get(route.interfaceIndex) ?? `#${route.interfaceIndex}`}`;
  return `${type}${formatPrefix(route.prefix)}${device} proto ${ROUTE_PROTOCOL}${route.metric === 0 ? '' : ` metric ${route.metric}`}`;
}

function changeRoute(socket: NetlinkSocket, verb: 'add' | 'delete', route: OwnRoute, table: number, object: string): void {
  const { prefix, gateway = null } = route;
  const connected = route.type === 'unicast' && gateway === null;
  const fixed = rtmsg({
    family: familyOf(prefix.bytes),
    destinationLength: prefix.length,
    protocol: ROUTE_PROTOCOL,
    // IPv4 wants a directly connected route to say so; IPv6 ignores the scope.
    scope: connected && prefix.bytes.length === 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
    type: route.type === 'unicast' ? RTN_UNICAST : RTN_BLACKHOLE,
    flags: gateway === null ? 0 : RTNH_F_ONLINK,
  });
  const attributes = [attribute(RTA_DST, prefix.bytes), attribute(RTA_TABLE, table), attribute(RTA_PRIORITY, route.metric)];
  if (gateway !== null) attributes.push(attribute(RTA_GATEWAY, gateway));
  if (route.interfaceIndex !== 0) attributes.push(attribute(RTA_OIF, route.interfaceIndex));
  const [type, flags] = verb === 'add' ? [RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL] : [RTM_DELROUTE, 0];
  socket.change(`${verb} route ${object}`, type, flags, fixed, attributes);
}

/**
 * Adds a route of ours to the main table. Throws CodedError GD_HOST_ROUTE_TAKEN when another route already has this prefix and
 * metric, NetlinkError otherwise.
 */
export function addOwnRoute(socket: NetlinkSocket, route: OwnRoute, names: ReadonlyMap<number, string>): void {
  const object = describeRoute(route, names);
  try {
    changeRoute(socket, 'add', route, RT_TABLE_MAIN, object);
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.errno !== E.EEXIST) throw error;
    const prefix = formatPrefix(route.prefix);
    const family = route.prefix.bytes.length === 4 ? '' : ' -6';
    throw new CodedError('GD_HOST_ROUTE_TAKEN', `add route ${object}: the host already has another route for ${prefix}`, {
      hint: `look at it with: ip${family} route show ${prefix}`,
      cause: error,
    });
  }
}

/** Deletes a route of ours. A route that is gone already (its device went away) is no error. Throws NetlinkError otherwise. */
export function deleteOwnRoute(socket: NetlinkSocket, route: OwnRoute | TableRoute, names: ReadonlyMap<number, string>): void {
  const type = route.type === 'blackhole' ? 'blackhole' : 'unicast';
  const table = 'table' in route ? route.table : RT_TABLE_MAIN;
  try {
    changeRoute(socket, 'delete', { ...route, type }, table, describeRoute(route, names));
  } catch (error) {
    if (!(error instanceof NetlinkError) || (error.errno !== E.ESRCH && error.errno !== E.ENODEV)) throw error;
  }
}

const DROPPING: ReadonlyMap<number, RouteType> = new Map([
  [E.EINVAL, 'blackhole'],
  [E.EACCES, 'prohibit'],
  [E.EHOSTUNREACH, 'unreachable'],
]);

function lookUp(address: Uint8Array, flags: number): Message | RouteType | null {
  const family = familyOf(address);
  const fixed = rtmsg({ family, destinationLength: address.length * 8, flags });
  try {
    const messages = withNetlink((socket) =>
      socket.get(`route to ${formatAddress(address)}`, RTM_GETROUTE, fixed, [attribute(RTA_DST, address)]),
    );
    return messages.find((message) => message.type === RTM_NEWROUTE) ?? null;
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    // A kernel booted with ipv6.disable=1 supports no question about IPv6 routes: it has none.
    if (error.errno === E.ENETUNREACH || (error.errno === E.EOPNOTSUPP && address.length === 16)) return null;
    // IPv4 answers a lookup that ends in a dropping route with the error the sender of a packet would see (fib_props).
    const type = DROPPING.get(error.errno);
    if (type === undefined) throw error;
    return type;
  }
}

const NOWHERE = { interface: '', interfaceIndex: 0, gateway: null, source: null, mtu: 0 };

/**
 * The way to `address` (4 or 16 bytes), or null when the host has none. Whoever asks often passes the list of interfaces.
 * Throws NetlinkError.
 */
export function routeTo(address: Uint8Array, links: readonly Link[] = listLinks()): Route | null {
  const found = lookUp(address, 0);
  if (found === null) return null;
  if (typeof found === 'string') return { type: found, ...NOWHERE };
  const attributes = decodeAttributes(found.body, RTMSG_LENGTH);
  const type = TYPES.get(found.body[7]) ?? 'other';
  // IPv6 says "no route" with its built-in unreachable route of the highest metric.
  if (type === 'unreachable' && address.length === 16 && unsigned(attributes.get(RTA_PRIORITY)) === 0xffffffff) return null;
  if (type !== 'unicast' && type !== 'local') return { type, ...NOWHERE };
  const interfaceIndex = unsigned(attributes.get(RTA_OIF));
  const link = links.find((candidate) => candidate.index === interfaceIndex);
  const metrics = attributes.get(RTA_METRICS);
  const routeMtu = metrics === undefined ? 0 : unsigned(decodeAttributes(metrics).get(RTAX_MTU));
  return {
    type,
    interface: link?.name ?? '',
    interfaceIndex,
    gateway: gatewayOf(attributes),
    source: attributes.get(RTA_PREFSRC) ?? null,
    mtu: routeMtu === 0 ? (link?.mtu ?? 0) : Math.min(routeMtu, link?.mtu ?? routeMtu),
  };
}

/** The entry of the routing table that decides about `address`; null when there is none, or it drops (IPv4 does not say which then). */
export function tableRouteTo(address: Uint8Array): TableRoute | null {
  // IPv6 names the table unasked, and refuses the flag (inet6_rtm_valid_getroute_req).
  const found = lookUp(address, address.length === 4 ? RTM_F_FIB_MATCH | RTM_F_LOOKUP_TABLE : RTM_F_FIB_MATCH);
  return found === null || typeof found === 'string' ? null : decodeRoute(found);
}

/** True when packets to `address` are delivered to this host itself. */
export function isLocalAddress(address: Uint8Array): boolean {
  return routeTo(address)?.type === 'local';
}

/**
 * The outer source address the kernel would choose for tunnel packets to `backend` (4 or 16 bytes, the result has as many).
 * Throws CodedError GD_HOST_NO_ROUTE when there is no way to the backend, or no address to send from.
 */
export function resolveTunnelSource(backend: Uint8Array, links: readonly Link[] = listLinks()): Uint8Array {
  const route = routeTo(backend, links);
  if (route === null || route.source === null) {
    const text = formatAddress(backend);
    const reason =
      route === null ? 'no route' : route.mtu === 0 ? `a ${route.type} route` : `no source address on ${route.interface}`;
    throw new CodedError('GD_HOST_NO_ROUTE', `there is no way to the backend ${text}: ${reason}`, {
      hint: `ip route get ${text}`,
    });
  }
  return route.source;
}

/** The same for many backends at one moment: the interfaces are listed once, and only when somebody is asked for. */
export function tunnelSourceResolver(): (backend: Uint8Array) => Uint8Array {
  let links: readonly Link[] | null = null;
  return (backend) => {
    links ??= listLinks();
    return resolveTunnelSource(backend, links);
  };
}
