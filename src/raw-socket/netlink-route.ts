/** The structures and numbers of rtnetlink (linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h). Native byte order. */
import { LITTLE_ENDIAN } from './netlink-message.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

/** Whose changes decide about a packet's way: links, neighbours, and of IPv4 and IPv6 addresses and routes (RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR, …). */
export const ROUTING_GROUPS: readonly number[] = [1, 3, 5, 7, 9, 11];

export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_INET6 = 10;

export const IFF_UP = 0x1;
export const IFF_LOOPBACK = 0x8;
export const IFF_RUNNING = 0x40;

export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
/** Of a VLAN interface: the index of the one below it. */
export const IFLA_LINK = 5;
export const IFLA_MASTER = 10;
export const IFLA_TXQLEN = 13;
export const IFLA_LINKINFO = 18;
export const IFLA_AF_SPEC = 26;
export const IFLA_LINK_NETNSID = 37;
export const IFLA_INFO_KIND = 1;
export const IFLA_INFO_DATA = 2;
export const IFLA_VLAN_ID = 1;
export const IFLA_VLAN_PROTOCOL = 5;
export const IFLA_INET_CONF = 1;
/** Numbers of a device's IPv4 settings (linux/ip.h). */
export const IPV4_DEVCONF_FORWARDING = 1;
export const IPV4_DEVCONF_RP_FILTER = 8;
export const IPV4_DEVCONF_ACCEPT_LOCAL = 23;
export const IFLA_INET6_ADDR_GEN_MODE = 8;
export const IN6_ADDR_GEN_MODE_NONE = 1;

export const IFA_ADDRESS = 1;
export const IFA_LOCAL = 2;
export const IFA_F_NODAD = 0x02;

export const NDA_DST = 1;
export const NDA_LLADDR = 2;
/** The kernel behaves as if it had a packet for the neighbour: it looks for it, or makes sure that it is still there. */
export const NTF_USE = 0x01;

export const RTA_DST = 1;
export const RTA_OIF = 4;
export const RTA_GATEWAY = 5;
export const RTA_PRIORITY = 6;
export const RTA_PREFSRC = 7;
export const RTA_METRICS = 8;
export const RTA_TABLE = 15;
export const RTA_VIA = 18;
export const RTAX_MTU = 2;

export const RT_TABLE_MAIN = 254;
export const RT_SCOPE_UNIVERSE = 0;
export const RT_SCOPE_LINK = 253;
export const RTM_F_FIB_MATCH = 0x2000;
/** Of a look-up: the answer names the table that decided, in place of `main`. */
export const RTM_F_LOOKUP_TABLE = 0x1000;
/** In rtmsg's flags: the gateway is on the link, whatever the other routes say. */
export const RTNH_F_ONLINK = 4;

export const RTN_UNICAST = 1;
export const RTN_LOCAL = 2;
export const RTN_BLACKHOLE = 6;
export const RTN_UNREACHABLE = 7;
export const RTN_PROHIBIT = 8;

/** The address family of an address of 4 or 16 bytes. */
export function familyOf(address: Uint8Array): number {
  return address.length === 4 ? AF_INET : AF_INET6;
}

/**
 *     0        1     2      4       8       12       16
 *     | family | pad | type | index | flags | change |      struct ifinfomsg
 */
export const IFINFOMSG_LENGTH = 16;
export function ifinfomsg(index: number, flags = 0, change = 0, family = AF_UNSPEC): Uint8Array {
  const bytes = new Uint8Array(IFINFOMSG_LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, family);
  view.setInt32(4, index, LITTLE_ENDIAN);
  view.setUint32(8, flags, LITTLE_ENDIAN);
  view.setUint32(12, change, LITTLE_ENDIAN);
  return bytes;
}

/**
 *     0        1            2       3       4       8
 *     | family | prefix len | flags | scope | index |       struct ifaddrmsg
 */
export const IFADDRMSG_LENGTH = 8;
export function ifaddrmsg(family: number, prefixLength: number, index: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(IFADDRMSG_LENGTH);
  bytes[0] = family;
  bytes[1] = prefixLength;
  bytes[2] = flags;
  new DataView(bytes.buffer).setUint32(4, index, LITTLE_ENDIAN);
  return bytes;
}

/**
 *     0        1         2         3     4       5          6       7      8       12
 *     | family | dst len | src len | tos | table | protocol | scope | type | flags |      struct rtmsg
 */
export const RTMSG_LENGTH = 12;
export interface RouteHeader {
  family: number;
  destinationLength?: number;
  table?: number;
  protocol?: number;
  scope?: number;
  type?: number;
  flags?: number;
}
export function rtmsg(header: RouteHeader): Uint8Array {
  const bytes = new Uint8Array(RTMSG_LENGTH);
  bytes[0] = header.family;
  bytes[1] = header.destinationLength ?? 0;
  bytes[4] = header.table ?? 0;
  bytes[5] = header.protocol ?? 0;
  bytes[6] = header.scope ?? RT_SCOPE_UNIVERSE;
  bytes[7] = header.type ?? 0;
  new DataView(bytes.buffer).setUint32(8, header.flags ?? 0, LITTLE_ENDIAN);
  return bytes;
}

/**
 *     0        1          4       8       10      11     12
 *     | family | pad      | index | state | flags | type |      struct ndmsg
 */
export const NDMSG_LENGTH = 12;
export function ndmsg(family: number, index = 0, flags = 0): Uint8Array {
  const bytes = new Uint8Array(NDMSG_LENGTH);
  bytes[0] = family;
  new DataView(bytes.buffer).setInt32(4, index, LITTLE_ENDIAN);
  bytes[10] = flags;
  return bytes;
}
