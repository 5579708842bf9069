/**
 * What packet terms look at, for compiled filters: each function takes an IP packet's place and bytes (`length`: to the end of its frame) and reads nothing behind
 * them. Small, so that V8 inlines them into the loop that a filter is compiled to.
 */
import * as ethernet from '../../wire/ethernet.ts';
import * as ipv4 from '../../wire/ipv4.ts';
import * as ipv6 from '../../wire/ipv6.ts';
import { PROTOCOL_SCTP } from '../../wire/sctp.ts';
import * as tcp from '../../wire/tcp.ts';

// Module-local: an imported constant is loaded from its module at every use (src/wire/README.md, "Constants").
const HEADER4 = ipv4.HEADER_LENGTH;
const HEADER6 = ipv6.HEADER_LENGTH;
const PROTOCOL_AT = ipv4.PROTOCOL_AT;
const FRAGMENT_AT = ipv4.FRAGMENT_AT;
const OFFSET_BITS = ipv4.FRAGMENT_OFFSET;
const NEXT_HEADER_AT = ipv6.NEXT_HEADER_AT;
const TCP = ipv4.PROTOCOL_TCP;
const UDP = ipv4.PROTOCOL_UDP;
const SCTP = PROTOCOL_SCTP;
const FLAGS_AT = tcp.DATA_OFFSET_AT + 1;
const TYPE_AT = ethernet.TYPE_AT;
const LINK = ethernet.HEADER_LENGTH;
const TYPE4 = ethernet.ETHERTYPE_IPV4;
const TYPE6 = ethernet.ETHERTYPE_IPV6;

/** Where the IP packet of an Ethernet frame begins; its end when it carries none. */
export function networkOf(view: DataView, at: number, end: number): number {
  if (end - at >= LINK) {
    const type = view.getUint16(at + TYPE_AT);
    if (type === TYPE4 || type === TYPE6) return at + LINK;
  }
  const found = ethernet.findNetwork(view, at, end);
  return found < 0 ? end : found;
}

/** 4 or 6 for a packet whose fixed header is whole, else 0. */
export function familyOf(view: DataView, at: number, length: number): number {
  if (length < HEADER4) return 0;
  const version = view.getUint8(at) >>> 4;
  return version === 4 || (version === 6 && length >= HEADER6) ? version : 0;
}

/** The protocol behind all extension headers that can be followed; −1 without one. `family`: `familyOf`. */
export function protocolOf(view: DataView, at: number, length: number, family: number): number {
  if (family === 4) return view.getUint8(at + PROTOCOL_AT);
  if (family !== 6) return -1;
  const next = view.getUint8(at + NEXT_HEADER_AT);
  if (next === TCP || next === UDP) return next;
  const found = ipv6.findTransport6(view, at, at + length);
  return found < 0 ? -1 : ipv6.transportProtocol(found);
}

/** Where the transport header begins, which may be the packet's end; −1 for a later fragment, and where it is not to be found. */
export function transportOf(view: DataView, at: number, length: number, family: number): number {
  if (family === 4) {
    const header = (view.getUint8(at) & 15) << 2;
    if (header < HEADER4 || header > length || (view.getUint16(at + FRAGMENT_AT) & OFFSET_BITS) !== 0) return -1;
    return at + header;
  }
  if (family !== 6) return -1;
  const next = view.getUint8(at + NEXT_HEADER_AT);
  if (next === TCP || next === UDP) return at + HEADER6;
  const found = ipv6.findTransport6(view, at, at + length);
  return found < 0 || ipv6.isLaterFragment(found) ? -1 : at + ipv6.transportOffset(found);
}

/** Where the two ports of TCP, UDP or SCTP lie; −1 where there are none. */
export function portsOf(view: DataView, at: number, length: number, family: number): number {
  const protocol = protocolOf(view, at, length, family);
  if (protocol !== TCP && protocol !== UDP && protocol !== SCTP) return -1;
  const transport = transportOf(view, at, length, family);
  return transport < 0 || transport + 4 > at + length ? -1 : transport;
}

/** The TCP flag byte; −1 where there is none. */
export function flagsOf(view: DataView, at: number, length: number, family: number): number {
  if (protocolOf(view, at, length, family) !== TCP) return -1;
  const transport = transportOf(view, at, length, family);
  return transport < 0 || transport + FLAGS_AT >= at + length ? -1 : view.getUint8(transport + FLAGS_AT);
}

/** Bytes of the packet's headers, transport header included, as far as they are there: what a trace keeps without being asked for more. */
export function headersOf(view: DataView, at: number, length: number): number {
  const family = familyOf(view, at, length);
  if (family === 0) return Math.min(length, HEADER4);
  const transport = transportOf(view, at, length, family);
  // Of a later fragment the IP header alone.
  if (transport < 0)
    return family === 4
      ? Math.min(length, Math.max(HEADER4, (view.getUint8(at) & 15) << 2))
      : HEADER6 + (length >= HEADER6 + 8 ? 8 : 0);
  const protocol = protocolOf(view, at, length, family);
  const left = at + length - transport;
  const bytes =
    protocol === TCP && left > tcp.DATA_OFFSET_AT
      ? Math.max(tcp.HEADER_LENGTH, (view.getUint8(transport + tcp.DATA_OFFSET_AT) >>> 4) << 2)
      : 8;
  return transport - at + Math.min(bytes, left);
}
