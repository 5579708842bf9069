/** Whether the TCP or UDP checksum of a packet is right: for reports. The packet path does not ask; who receives the packet does. */
import * as checksum from './checksum.ts';
import * as ipv4 from './ipv4.ts';
import * as ipv6 from './ipv6.ts';
import * as tcp from './tcp.ts';
import * as udp from './udp.ts';

/**
 * Of the IP packet from `at`; `end`: the first byte that is not of the frame. null where there is nothing to verify: another protocol, a fragment, UDP without a
 * checksum, IPv6 with extension headers (one for routing names another destination than the checksum's), a packet that is cut or contradicts itself.
 */
export function transportChecksum(view: DataView, at: number, end: number): 'right' | 'wrong' | null {
  if (at >= end) return null;
  return view.getUint8(at) >> 4 === 6 ? over6(view, at, end) : over4(view, at, end);
}

function over4(view: DataView, at: number, end: number): 'right' | 'wrong' | null {
  if (ipv4.check(view, at, end) !== 0 || ipv4.isFragment(view, at)) return null;
  const transport = at + ipv4.headerLength(view, at);
  const length = at + ipv4.totalLength(view, at) - transport;
  const protocol = ipv4.protocol(view, at);
  if (!isWhole(view, transport, length, protocol)) return null;
  return judge(view, transport, length, checksum.pseudoSum4(view, at + ipv4.SOURCE_AT, protocol, length));
}

function over6(view: DataView, at: number, end: number): 'right' | 'wrong' | null {
  if (ipv6.check(view, at, end) !== 0) return null;
  const stop = at + ipv6.HEADER_LENGTH + ipv6.payloadLength(view, at);
  const found = ipv6.findTransport6(view, at, stop);
  if (found < 0 || ipv6.isFragment(found) || ipv6.transportOffset(found) !== ipv6.HEADER_LENGTH) return null;
  const transport = at + ipv6.HEADER_LENGTH;
  const protocol = ipv6.transportProtocol(found);
  if (!isWhole(view, transport, stop - transport, protocol)) return null;
  return judge(view, transport, stop - transport, checksum.pseudoSum6(view, at + ipv6.SOURCE_AT, protocol, stop - transport));
}

/** A header is there, with a checksum to be verified. */
function isWhole(view: DataView, at: number, length: number, protocol: number): boolean {
  if (protocol === ipv4.PROTOCOL_TCP) return length >= tcp.HEADER_LENGTH;
  return protocol === ipv4.PROTOCOL_UDP && length >= udp.HEADER_LENGTH && udp.checksum(view, at) !== 0;
}

function judge(view: DataView, at: number, length: number, pseudo: number): 'right' | 'wrong' {
  return checksum.verifies(checksum.sum(view, at, length, pseudo)) ? 'right' : 'wrong';
}
