/** Addresses of this host's interfaces. */
import { formatAddress } from '../base/address.ts';
import { withNetlink } from '../raw-socket/netlink.ts';
import { attribute, decodeAttributes, NLM_F_CREATE, NLM_F_EXCL, readU32 } from '../raw-socket/netlink-message.ts';
import {
  AF_UNSPEC,
  familyOf,
  IFA_ADDRESS,
  IFA_F_NODAD,
  IFA_LOCAL,
  IFADDRMSG_LENGTH,
  ifaddrmsg,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
} from '../raw-socket/netlink-route.ts';

export interface InterfaceAddress {
  readonly interfaceIndex: number;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly prefixLength: number;
}

/** All addresses of this network namespace, both families. Throws NetlinkError. */
export function listAddresses(): InterfaceAddress[] {
  const messages = withNetlink((socket) => socket.dump('list of addresses', RTM_GETADDR, ifaddrmsg(AF_UNSPEC, 0, 0)));
  return messages.flatMap(({ body }) => {
    const attributes = decodeAttributes(body, IFADDRMSG_LENGTH);
    // On point-to-point links IFA_ADDRESS is the other end; IFA_LOCAL, where present, is always ours.
    const address = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
    return address === undefined ? [] : [{ interfaceIndex: readU32(body, 4), address, prefixLength: body[1] }];
  });
}

/**
 * Gives an interface an address, an IPv6 one without duplicate address detection: it can be used at once. Throws NetlinkError naming
 * both; EEXIST when it has it already.
 */
export function addAddress(link: { index: number; name: string }, address: Uint8Array, prefixLength: number): void {
  changeAddress('add', RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, link, address, prefixLength);
}

/** Takes an address away. Throws NetlinkError naming it; EADDRNOTAVAIL when the interface does not have it. */
export function deleteAddress(link: { index: number; name: string }, address: Uint8Array, prefixLength: number): void {
  changeAddress('delete', RTM_DELADDR, 0, link, address, prefixLength);
}

function changeAddress(
  verb: string,
  type: number,
  flags: number,
  link: { index: number; name: string },
  address: Uint8Array,
  prefixLength: number,
): void {
  const noDetection = address.length === 16 ? IFA_F_NODAD : 0;
  const object = `${verb} address ${formatAddress(address)}/${prefixLength} on ${link.name}`;
  withNetlink((socket) =>
    socket.change(object, type, flags, ifaddrmsg(familyOf(address), prefixLength, link.index, noDetection), [
      attribute(IFA_LOCAL, address),
      attribute(IFA_ADDRESS, address),
    ]),
  );
}
