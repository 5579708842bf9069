/** Network interfaces as whoever writes link headers must know them: their own MAC address, and of a VLAN interface what lies below it. */
import { withNetlink } from '../raw-socket/netlink.ts';
import { decodeAttributes, type Message, readU16, readU32 } from '../raw-socket/netlink-message.ts';
import {
  IFINFOMSG_LENGTH,
  IFLA_ADDRESS,
  IFLA_INFO_DATA,
  IFLA_LINK,
  IFLA_LINK_NETNSID,
  IFLA_LINKINFO,
  IFLA_VLAN_ID,
  IFLA_VLAN_PROTOCOL,
  ifinfomsg,
  RTM_GETLINK,
} from '../raw-socket/netlink-route.ts';
import { decodeLink, type Link } from './links.ts';

/** EtherType of a customer's tag (IEEE 802.1Q), as its bytes lie in memory: 0x81 first. */
const TAG_BYTES = [0x81, 0x00];

export interface LinkEnd extends Link {
  /** 6 bytes for Ethernet; others have more, fewer or none. */
  readonly address: Uint8Array;
  /** Of a VLAN interface with 802.1Q tags: index of the interface below, and the VLAN's number (12 bits). null for others. */
  readonly vlan: { readonly below: number; readonly number: number } | null;
}

/** From the body of RTM_NEWLINK. */
export function decodeLinkEnd(message: Message): LinkEnd {
  const link = decodeLink(message);
  const attributes = decodeAttributes(message.body, IFINFOMSG_LENGTH);
  return { ...link, address: attributes.get(IFLA_ADDRESS) ?? new Uint8Array(0), vlan: vlanOf(link, attributes) };
}

function vlanOf({ kind }: Link, attributes: ReadonlyMap<number, Uint8Array>): LinkEnd['vlan'] {
  const below = attributes.get(IFLA_LINK);
  const information = attributes.get(IFLA_LINKINFO);
  // What lies in another namespace has an index of that one.
  if (kind !== 'vlan' || below === undefined || information === undefined || attributes.has(IFLA_LINK_NETNSID)) return null;
  const data = decodeAttributes(information).get(IFLA_INFO_DATA);
  if (data === undefined) return null;
  const settings = decodeAttributes(data);
  const number = settings.get(IFLA_VLAN_ID);
  const protocol = settings.get(IFLA_VLAN_PROTOCOL);
  if (number === undefined || protocol === undefined || TAG_BYTES.some((byte, at) => protocol[at] !== byte)) return null;
  return { below: readU32(below), number: readU16(number) };
}

/**
 * The tag of frames that a route over `end` means when they leave by the interface named `device`: 0 for none, where both are one; else the VLAN's number. null: frames out of
 * `device` do not get there.
 */
export function tagOver(end: LinkEnd, device: string, ends: readonly LinkEnd[]): number | null {
  if (end.name === device) return 0;
  return end.vlan !== null && ends.some(({ index, name }) => index === end.vlan?.below && name === device)
    ? end.vlan.number
    : null;
}

/** All interfaces of this network namespace. Throws NetlinkError. */
export function listLinkEnds(): LinkEnd[] {
  return withNetlink((socket) => socket.dump('list of interfaces', RTM_GETLINK, ifinfomsg(0)).map(decodeLinkEnd));
}
