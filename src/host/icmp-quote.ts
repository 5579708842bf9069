/**
 * ICMP errors about our outer packets, taken apart and believed only when the packet they quote is one that we can have sent: from
 * the source of a tunnel, to its backend, of its protocol; with UDP to the tunnel's port, from a source port of the egress; without, with what we write there. Pure: bytes in, a verdict out.
 *
 *     IPv4 (raw sockets give the IP header):  | IPv4 | ICMP 8 | quote: IPv4 20 | UDP 8 | GUE …       | GRE …      | inner IP …
 *     IPv6 (raw sockets give none):                  | ICMP 8 | quote: IPv6 40 | UDP 8 | GUE …       | GRE …      | inner IP …
 */
import { formatAddress, prefixContains } from '../base/address.ts';
import { WIRE_OK } from '../wire/check.ts';
import * as ethernet from '../wire/ethernet.ts';
import * as gre from '../wire/gre.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as udp from '../wire/udp.ts';

/** Protocols of outer packets: UDP; IPv4 and IPv6 as they are; GRE. */
const IPIP = 4;
const IPV6 = 41;
const PROTOCOLS: ReadonlySet<number> = new Set([ipv4.PROTOCOL_UDP, IPIP, IPV6, 47]);

/** One way our packets go. */
export interface Tunnel {
  /** Outer source and backend address, both 4 or both 16 bytes. */
  readonly source: Uint8Array;
  readonly address: Uint8Array;
  /** UDP destination ports; none for a tunnel without UDP. */
  readonly ports: readonly number[];
  /** Protocol numbers of its outer packets: 17; 47; or 4 and 41. */
  readonly protocols: readonly number[];
  /** Bits at the end of the source, at most 32, that are any. Absent: 0. */
  readonly sourceSpread?: number;
  /** Source ports of this tunnel, where they are not the egress's. */
  readonly sourcePorts?: SourcePorts;
}

/** Source ports that the egress uses: `base` to `base + count − 1`. */
export interface SourcePorts {
  readonly base: number;
  readonly count: number;
}

/**
 * Why a message says nothing about our packets. `truncated`: it ends before the quoted ports. `checksum`: its own is wrong. `type`: not
 * an error we read. The others name the field of the quote that can not be ours; `format` is an IP header that we do not write.
 */
export const IGNORE_REASONS = [
  'truncated',
  'checksum',
  'type',
  'format',
  'protocol',
  'backend',
  'source',
  'port',
  'source-port',
] as const;
export type IgnoreReason = (typeof IGNORE_REASONS)[number];

/**
 * What an unreachable message says. `port`: nobody listens on the UDP port, or no tunnel device of that host takes the packet; `protocol`: it has
 * no program for the IP protocol at all (GRE or IP in IP whose module is not loaded).
 */
export const UNREACHABLE_KINDS = ['port', 'protocol', 'host', 'net', 'prohibited'] as const;
export type Unreachable = (typeof UNREACHABLE_KINDS)[number];

/** A message that is about a packet of ours. */
export type IcmpReport =
  | {
      readonly kind: 'too-big';
      readonly tunnel: Tunnel;
      /** As the router wrote it, unsigned; 0 over IPv4 from a router older than RFC 1191. */
      readonly mtu: number;
      /** Bytes of the packet that was refused, as its header says. */
      readonly quotedLength: number;
    }
  | { readonly kind: 'unreachable'; readonly tunnel: Tunnel; readonly what: Unreachable };

const CODES4: ReadonlyMap<number, Unreachable> = new Map([
  [icmpv4.CODE_NET_UNREACHABLE, 'net'],
  [icmpv4.CODE_HOST_UNREACHABLE, 'host'],
  [icmpv4.CODE_PROTOCOL_UNREACHABLE, 'protocol'],
  [icmpv4.CODE_PORT_UNREACHABLE, 'port'],
  // RFC 1812 §5.2.7.1: network, host, communication administratively prohibited.
  [9, 'prohibited'],
  [10, 'prohibited'],
  [icmpv4.CODE_PROHIBITED, 'prohibited'],
]);

const CODES6: ReadonlyMap<number, Unreachable> = new Map([
  [icmpv6.CODE_NO_ROUTE, 'net'],
  [icmpv6.CODE_PROHIBITED, 'prohibited'],
  [icmpv6.CODE_ADDRESS_UNREACHABLE, 'host'],
  [icmpv6.CODE_PORT_UNREACHABLE, 'port'],
  // RFC 4443 §3.1: source address failed policy, reject route.
  [5, 'prohibited'],
  [6, 'prohibited'],
]);

/**
 * Over IPv6 a protocol that the host does not know is a parameter problem, code 1 (RFC 4443 §3.4, net/ipv6/ip6_input.c), which points at the field
 * that names it: of our packets the one in the IPv6 header.
 */
const UNRECOGNIZED_NEXT_HEADER = 1;

/** The tunnels that packets of ours can be in. */
export class TunnelIndex {
  readonly #byAddress = new Map<string, Tunnel[]>();
  readonly #sourcePorts: SourcePorts;

  constructor(tunnels: readonly Tunnel[], sourcePorts: SourcePorts) {
    this.#sourcePorts = sourcePorts;
    for (const tunnel of tunnels) {
      const key = formatAddress(tunnel.address);
      const known = this.#byAddress.get(key);
      if (known === undefined) this.#byAddress.set(key, [tunnel]);
      else known.push(tunnel);
    }
  }

  /**
   * The tunnel of a packet of `protocol`, or the field by which it is none of ours. Addresses, and what begins behind the outer IP header, as they lie in
   * the quote; of the latter there are 4 bytes at least.
   */
  find(view: DataView, protocol: number, addressesAt: number, addressLength: number, at: number): Tunnel | IgnoreReason {
    const address = new Uint8Array(view.buffer, view.byteOffset + addressesAt, addressLength * 2);
    const own = this.#byAddress.get(formatAddress(address.subarray(addressLength)));
    if (own === undefined) return 'backend';
    const ofSource = own.filter(({ source, sourceSpread = 0 }) =>
      prefixContains({ bytes: source, length: source.length * 8 - sourceSpread }, address.subarray(0, addressLength)),
    );
    if (ofSource.length === 0) return 'source';
    const ofProtocol = ofSource.filter(({ protocols }) => protocols.includes(protocol));
    if (ofProtocol.length === 0) return 'protocol';
    if (protocol !== ipv4.PROTOCOL_UDP) return isOurs(view, protocol, at) ? ofProtocol[0] : 'format';
    const port = udp.destinationPort(view, at);
    const tunnel = ofProtocol.find(({ ports }) => ports.includes(port));
    if (tunnel === undefined) return 'port';
    const { base, count } = tunnel.sourcePorts ?? this.#sourcePorts;
    const place = udp.sourcePort(view, at) - base;
    return place >= 0 && place < count ? tunnel : 'source-port';
  }
}

/** A tunnel without UDP has no ports to know it by: what stands in front of the inner packet must be as we write it. */
function isOurs(view: DataView, protocol: number, at: number): boolean {
  if (protocol === IPIP) return view.getUint8(at) >> 4 === 4;
  if (protocol === IPV6) return view.getUint8(at) >> 4 === 6;
  const type = gre.protocolType(view, at);
  const isPlain = (gre.flags(view, at) & ~gre.FLAG_CHECKSUM) === 0;
  return isPlain && (type === ethernet.ETHERTYPE_IPV4 || type === ethernet.ETHERTYPE_IPV6);
}

/** What the IPv4 packet from `at` to `end` reports. */
export function readIcmp4(view: DataView, at: number, end: number, tunnels: TunnelIndex): IcmpReport | IgnoreReason {
  if (ipv4.check(view, at, end) !== WIRE_OK) return 'truncated';
  if (ipv4.protocol(view, at) !== ipv4.PROTOCOL_ICMP) return 'type';
  const message = at + ipv4.headerLength(view, at);
  const messageEnd = at + ipv4.totalLength(view, at);
  if (icmpv4.check(view, message, messageEnd) !== WIRE_OK) return 'truncated';
  if (icmpv4.type(view, message) !== icmpv4.TYPE_DESTINATION_UNREACHABLE) return 'type';
  // The kernel hands ICMP to raw sockets before it looks at the checksum (ip_local_deliver_finish).
  if (!icmpv4.verifyChecksum(view, message, messageEnd)) return 'checksum';
  const quote = message + icmpv4.QUOTE_AT;
  // The ports are all of the transport header that every router quotes (RFC 792: 8 bytes).
  if (messageEnd - quote < ipv4.HEADER_LENGTH + 4) return 'truncated';
  // We write no options and no fragments. `ipv4.check` would not do: the quoted packet is longer than its quote.
  const plain = ipv4.version(view, quote) === 4 && ipv4.headerLength(view, quote) === ipv4.HEADER_LENGTH;
  if (!plain || ipv4.isFragment(view, quote)) return 'format';
  const protocol = ipv4.protocol(view, quote);
  if (!PROTOCOLS.has(protocol)) return 'protocol';
  const tunnel = tunnels.find(view, protocol, quote + ipv4.SOURCE_AT, 4, quote + ipv4.HEADER_LENGTH);
  if (typeof tunnel === 'string') return tunnel;
  const code = icmpv4.code(view, message);
  if (code === icmpv4.CODE_FRAGMENTATION_NEEDED) {
    return { kind: 'too-big', tunnel, mtu: icmpv4.nextHopMtu(view, message), quotedLength: ipv4.totalLength(view, quote) };
  }
  const what = CODES4.get(code);
  return what === undefined ? 'type' : { kind: 'unreachable', tunnel, what };
}

/** What the ICMPv6 message from `at` to `end` reports. Its checksum the kernel has verified (rawv6_rcv). */
export function readIcmp6(view: DataView, at: number, end: number, tunnels: TunnelIndex): IcmpReport | IgnoreReason {
  if (icmpv6.check(view, at, end) !== WIRE_OK) return 'truncated';
  const type = icmpv6.type(view, at);
  const isProblem = type === icmpv6.TYPE_PARAMETER_PROBLEM;
  if (type !== icmpv6.TYPE_PACKET_TOO_BIG && type !== icmpv6.TYPE_DESTINATION_UNREACHABLE && !isProblem) return 'type';
  const quote = at + icmpv6.QUOTE_AT;
  if (end - quote < ipv6.HEADER_LENGTH + 4) return 'truncated';
  if (ipv6.version(view, quote) !== 6) return 'format';
  // We write no extension headers.
  const protocol = ipv6.nextHeader(view, quote);
  if (!PROTOCOLS.has(protocol)) return 'protocol';
  const tunnel = tunnels.find(view, protocol, quote + ipv6.SOURCE_AT, 16, quote + ipv6.HEADER_LENGTH);
  if (typeof tunnel === 'string') return tunnel;
  if (type === icmpv6.TYPE_PACKET_TOO_BIG) {
    const quotedLength = ipv6.HEADER_LENGTH + ipv6.payloadLength(view, quote);
    return { kind: 'too-big', tunnel, mtu: icmpv6.mtu(view, at) >>> 0, quotedLength };
  }
  const code = icmpv6.code(view, at);
  if (isProblem) {
    if (code !== UNRECOGNIZED_NEXT_HEADER) return 'type';
    const pointer = view.getInt32(at + icmpv6.REST_AT);
    return pointer === ipv6.NEXT_HEADER_AT ? { kind: 'unreachable', tunnel, what: 'protocol' } : 'format';
  }
  const what = CODES6.get(code);
  return what === undefined ? 'type' : { kind: 'unreachable', tunnel, what };
}
