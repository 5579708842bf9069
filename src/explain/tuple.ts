/**
 * Addresses, protocol and ports of a frame, for reports: as far as they can be read, whatever its verdict. Read from the frame before the
 * pipeline sees it, because an answer is written over the packet that it answers.
 */
import { formatAddress } from '../base/address.ts';
import { type IngressFacts, LINK_ETHERNET, LINK_RAW_IP } from '../base/batch.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { PROTOCOL_SCTP } from '../wire/sctp.ts';

export interface Tuple {
  readonly source?: string;
  readonly destination?: string;
  /** `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, or the number of another (IANA protocol numbers). */
  readonly protocol?: string;
  /** Only TCP, UDP and SCTP, and not of a fragment behind the first, which has none. */
  readonly sport?: number;
  readonly dport?: number;
}

const WORDS: ReadonlyMap<number, string> = new Map([
  [ipv4.PROTOCOL_ICMP, 'icmp'],
  [ipv4.PROTOCOL_TCP, 'tcp'],
  [ipv4.PROTOCOL_UDP, 'udp'],
  [ipv6.NEXT_ICMPV6, 'icmpv6'],
  [PROTOCOL_SCTP, 'sctp'],
]);
const WITH_PORTS: ReadonlySet<number> = new Set([ipv4.PROTOCOL_TCP, ipv4.PROTOCOL_UDP, PROTOCOL_SCTP]);
const NONE: Tuple = {};

/** `tcp` for 6; the number as text where there is no word. */
export function protocolWord(protocol: number): string {
  return WORDS.get(protocol) ?? String(protocol);
}

/** What the frame from `at` to `end` tells; fields that it does not tell are absent. */
export function readTuple(view: DataView, at: number, end: number, link: IngressFacts['link']): Tuple {
  const network = link === LINK_ETHERNET ? ethernet.findNetwork(view, at, end) : at;
  if (network < 0 || network >= end) return NONE;
  const version = view.getUint8(network) >> 4;
  if (version === 4 && end - network >= ipv4.HEADER_LENGTH) return read4(view, network, end);
  if (version === 6 && end - network >= ipv6.HEADER_LENGTH) return read6(view, network, end);
  return NONE;
}

/** The packet that an ICMP error in the frame quotes, null when the frame is none. */
export function readQuoted(view: DataView, at: number, end: number, link: IngressFacts['link']): Tuple | null {
  const network = link === LINK_ETHERNET ? ethernet.findNetwork(view, at, end) : at;
  if (network < 0 || network >= end) return null;
  const version = view.getUint8(network) >> 4;
  if (version === 4) {
    if (end - network < ipv4.HEADER_LENGTH || ipv4.protocol(view, network) !== ipv4.PROTOCOL_ICMP) return null;
    const icmpAt = network + ipv4.headerLength(view, network);
    const isError = !ipv4.isLaterFragment(view, network) && icmpAt + icmpv4.HEADER_LENGTH <= end;
    if (!isError || !icmpv4.isError(icmpv4.type(view, icmpAt))) return null;
    return readTuple(view, icmpAt + icmpv4.QUOTE_AT, end, LINK_RAW_IP);
  }
  if (version !== 6 || end - network < ipv6.HEADER_LENGTH) return null;
  const found = ipv6.findTransport6(view, network, end);
  if (found < 0 || ipv6.isLaterFragment(found) || ipv6.transportProtocol(found) !== ipv6.NEXT_ICMPV6) return null;
  const icmpAt = network + ipv6.transportOffset(found);
  if (icmpAt + icmpv6.HEADER_LENGTH > end || !icmpv6.isError(icmpv6.type(view, icmpAt))) return null;
  return readTuple(view, icmpAt + icmpv6.QUOTE_AT, end, LINK_RAW_IP);
}

function read4(view: DataView, at: number, end: number): Tuple {
  const protocol = view.getUint8(at + ipv4.PROTOCOL_AT);
  const isFirst = (view.getUint16(at + ipv4.FRAGMENT_AT) & ipv4.FRAGMENT_OFFSET) === 0;
  const header = (view.getUint8(at) & 15) * 4;
  return {
    ...addresses(view, at + ipv4.SOURCE_AT, at + ipv4.DESTINATION_AT, 4),
    protocol: protocolWord(protocol),
    ...(isFirst && header >= ipv4.HEADER_LENGTH ? ports(view, at + header, end, protocol) : {}),
  };
}

function read6(view: DataView, at: number, end: number): Tuple {
  const ends = addresses(view, at + ipv6.SOURCE_AT, at + ipv6.DESTINATION_AT, 16);
  const found = ipv6.findTransport6(view, at, end);
  if (found < 0) return ends;
  const protocol = ipv6.transportProtocol(found);
  return {
    ...ends,
    protocol: protocolWord(protocol),
    ...(ipv6.isLaterFragment(found) ? {} : ports(view, at + ipv6.transportOffset(found), end, protocol)),
  };
}

function addresses(view: DataView, source: number, destination: number, length: 4 | 16): Tuple {
  const text = (at: number) => formatAddress(new Uint8Array(view.buffer, view.byteOffset + at, length));
  return { source: text(source), destination: text(destination) };
}

function ports(view: DataView, at: number, end: number, protocol: number): Tuple {
  if (!WITH_PORTS.has(protocol) || at + 4 > end) return NONE;
  return { sport: view.getUint16(at), dport: view.getUint16(at + 2) };
}

/** `tcp 192.0.2.7:40000 → 198.51.100.1:443`; '' when nothing is known. */
export function tupleText(tuple: Tuple): string {
  if (tuple.source === undefined) return '';
  const end = (address: string | undefined, port: number | undefined) =>
    port === undefined ? `${address}` : address?.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  const route = `${end(tuple.source, tuple.sport)} → ${end(tuple.destination, tuple.dport)}`;
  return tuple.protocol === undefined ? route : `${tuple.protocol} ${route}`;
}
