/** Neighbours: the link-layer addresses the kernel knows for hosts on our links. */
import { withNetlink } from '../raw-socket/netlink.ts';
import { decodeAttributes, readI32, readU16 } from '../raw-socket/netlink-message.ts';
import { AF_UNSPEC, NDA_DST, NDA_LLADDR, NDMSG_LENGTH, ndmsg, RTM_GETNEIGH } from '../raw-socket/netlink-route.ts';

/** NUD_* states in which the link-layer address may be used: permanent, noarp, reachable, probe, stale, delay. */
const USABLE = 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08;

export interface Neighbour {
  readonly interfaceIndex: number;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** Usually 6 bytes; null while unresolved or failed. */
  readonly linkAddress: Uint8Array | null;
}

/** All neighbours of this network namespace, both families. Throws NetlinkError. */
export function listNeighbours(): Neighbour[] {
  const messages = withNetlink((socket) => socket.dump('list of neighbours', RTM_GETNEIGH, ndmsg(AF_UNSPEC)));
  return messages.flatMap(({ body }) => {
    const attributes = decodeAttributes(body, NDMSG_LENGTH);
    const address = attributes.get(NDA_DST);
    if (address === undefined) return [];
    const usable = (readU16(body, 8) & USABLE) !== 0;
    return [{ interfaceIndex: readI32(body, 4), address, linkAddress: usable ? (attributes.get(NDA_LLADDR) ?? null) : null }];
  });
}
