/** Neighbours: the link-layer addresses the kernel knows for hosts on our links. */
import { formatAddress } from '../base/address.ts';
import { withNetlink } from '../raw-socket/netlink.ts';
import { attribute, decodeAttributes, type Message, NLM_F_CREATE, readI32, readU16 } from '../raw-socket/netlink-message.ts';
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  familyOf,
  NDA_DST,
  NDA_LLADDR,
  NDMSG_LENGTH,
  NTF_USE,
  ndmsg,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from '../raw-socket/netlink-route.ts';

/** NUD_* states in which the link-layer address may be used: permanent, noarp, reachable, probe, stale, delay. */
const USABLE = 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08;
const NUD_STALE = 0x04;

export interface Neighbour {
  readonly interfaceIndex: number;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** Usually 6 bytes; null while unresolved or failed. */
  readonly linkAddress: Uint8Array | null;
  /** Nobody has made sure of it for a while; the kernel does once it is used. */
  readonly isStale: boolean;
}

/** All neighbours of this network namespace, both families. Throws NetlinkError. */
export function listNeighbours(): Neighbour[] {
  const messages = withNetlink((socket) => socket.dump('list of neighbours', RTM_GETNEIGH, ndmsg(AF_UNSPEC)));
  return messages.map(decodeNeighbour).filter((neighbour) => neighbour !== null);
}

/**
 * From RTM_NEWNEIGH or RTM_DELNEIGH, an answer or a notification; null for another message, and for a bridge's entries, whose IP address, if any, is a tunnel's end
 * (VXLAN) and no neighbour's.
 */
export function decodeNeighbour({ type, body }: Message): Neighbour | null {
  if (type !== RTM_NEWNEIGH && type !== RTM_DELNEIGH) return null;
  const attributes = decodeAttributes(body, NDMSG_LENGTH);
  const address = attributes.get(NDA_DST);
  if (address === undefined || (body[0] !== AF_INET && body[0] !== AF_INET6)) return null;
  const state = readU16(body, 8);
  const isUsable = type === RTM_NEWNEIGH && (state & USABLE) !== 0;
  return {
    interfaceIndex: readI32(body, 4),
    address,
    linkAddress: isUsable ? (attributes.get(NDA_LLADDR) ?? null) : null,
    isStale: isUsable && (state & NUD_STALE) !== 0,
  };
}

/**
 * Has the kernel look for a neighbour, or make sure of one that is stale, as if it had a packet for it (neigh_event_send). Does not wait for the answer, which
 * is a notification. Throws NetlinkError, as for an interface that is gone.
 */
export function resolveNeighbour(interfaceIndex: number, address: Uint8Array): void {
  const fixed = ndmsg(familyOf(address), interfaceIndex, NTF_USE);
  withNetlink((socket) =>
    socket.change(`look for neighbour ${formatAddress(address)}`, RTM_NEWNEIGH, NLM_F_CREATE, fixed, [
      attribute(NDA_DST, address),
    ]),
  );
}
