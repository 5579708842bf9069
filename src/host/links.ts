/** Network interfaces as the kernel has them, and the few properties of our own device that we set. */
import { CodedError } from '../base/errors.ts';
import { withNetlink } from '../raw-socket/netlink.ts';
import { attribute, decodeAttributes, type Message, nested, readI32, readText, readU32 } from '../raw-socket/netlink-message.ts';
import {
  AF_INET,
  AF_INET6,
  IFF_LOOPBACK,
  IFF_RUNNING,
  IFF_UP,
  IFINFOMSG_LENGTH,
  IFLA_AF_SPEC,
  IFLA_IFNAME,
  IFLA_INET_CONF,
  IFLA_INET6_ADDR_GEN_MODE,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_TXQLEN,
  IN6_ADDR_GEN_MODE_NONE,
  ifinfomsg,
  RTM_GETLINK,
  RTM_NEWLINK,
} from '../raw-socket/netlink-route.ts';

export interface Link {
  readonly index: number;
  readonly name: string;
  /** Bytes of the largest IP packet. */
  readonly mtu: number;
  /** Packets. */
  readonly queueLength: number;
  /** Set up by the administrator. */
  readonly up: boolean;
  /** Has a carrier (or, for TUN, an open descriptor). */
  readonly running: boolean;
  readonly loopback: boolean;
  /** Index of the bridge (or bond …) that it is a port of; 0 when of none. */
  readonly master: number;
  /** The driver's word: `tun`, `veth`, `vlan` …; empty for hardware. */
  readonly kind: string;
}

/** From the body of RTM_NEWLINK. */
export function decodeLink({ body }: Message): Link {
  const attributes = decodeAttributes(body, IFINFOMSG_LENGTH);
  const number = (type: number) => {
    const value = attributes.get(type);
    return value === undefined ? 0 : readU32(value);
  };
  const information = attributes.get(IFLA_LINKINFO);
  const kind = information === undefined ? undefined : decodeAttributes(information).get(IFLA_INFO_KIND);
  const flags = readU32(body, 8);
  return {
    index: readI32(body, 4),
    name: readText(attributes.get(IFLA_IFNAME) ?? new Uint8Array(0)),
    mtu: number(IFLA_MTU),
    queueLength: number(IFLA_TXQLEN),
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    master: number(IFLA_MASTER),
    kind: kind === undefined ? '' : readText(kind),
  };
}

/** All interfaces of this network namespace. Throws NetlinkError. */
export function listLinks(): Link[] {
  return withNetlink((socket) => socket.dump('list of interfaces', RTM_GETLINK, ifinfomsg(0)).map(decodeLink));
}

/** The interface of that name, or null. */
export function linkByName(name: string): Link | null {
  return listLinks().find((link) => link.name === name) ?? null;
}

/** The interface with that index, or null. */
export function linkByIndex(index: number): Link | null {
  return listLinks().find((link) => link.index === index) ?? null;
}

export interface LinkSettings {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly queueLength?: number;
  /** Index of the bridge to join; 0 leaves the one it is in. */
  readonly master?: number;
  /** False: the kernel gives the device no IPv6 link-local address, and sends no router solicitations into it. */
  readonly ipv6LinkLocal?: false;
  /** The device's own IPv4 settings by their number (IPV4_DEVCONF_*), as the files of net/ipv4/conf/NAME: here no /proc/sys need be writable. */
  readonly ipv4?: ReadonlyMap<number, number>;
}

/** Changes an interface's properties. Throws NetlinkError naming the interface and the setting. */
export function setLink(link: { index: number; name: string }, settings: LinkSettings): void {
  withNetlink((socket) => {
    const set = (what: string, fixed: Uint8Array, attributes: Uint8Array[]) =>
      socket.change(`interface ${link.name}: set ${what}`, RTM_NEWLINK, 0, fixed, attributes);
    const { mtu, queueLength, master, up } = settings;
    if (mtu !== undefined) set(`mtu ${mtu}`, ifinfomsg(link.index), [attribute(IFLA_MTU, mtu)]);
    if (queueLength !== undefined) set(`txqueuelen ${queueLength}`, ifinfomsg(link.index), [attribute(IFLA_TXQLEN, queueLength)]);
    if (master !== undefined) set(`master ${master}`, ifinfomsg(link.index), [attribute(IFLA_MASTER, master)]);
    if (settings.ipv6LinkLocal === false) {
      const mode = attribute(IFLA_INET6_ADDR_GEN_MODE, Uint8Array.of(IN6_ADDR_GEN_MODE_NONE));
      set('addrgenmode none', ifinfomsg(link.index), [nested(IFLA_AF_SPEC, nested(AF_INET6, mode))]);
    }
    if (settings.ipv4 !== undefined) {
      const values = [...settings.ipv4].map(([number, value]) => attribute(number, value));
      set('its IPv4 settings', ifinfomsg(link.index), [nested(IFLA_AF_SPEC, nested(AF_INET, nested(IFLA_INET_CONF, ...values)))]);
    }
    if (up !== undefined) set(up ? 'up' : 'down', ifinfomsg(link.index, up ? IFF_UP : 0, IFF_UP), []);
  });
}

/** The interface of that name. Throws CodedError GD_HOST_NO_INTERFACE. */
export function requireLink(name: string): Link {
  const link = linkByName(name);
  if (link === null) {
    throw new CodedError('GD_HOST_NO_INTERFACE', `there is no network interface "${name}" here`, { hint: 'ip link show' });
  }
  return link;
}
