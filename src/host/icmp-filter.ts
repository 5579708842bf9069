/**
 * What the kernel keeps for the ICMP listener: errors that quote a UDP packet to one of our tunnel ports, or a packet of a tunnel without UDP. The filter runs before a
 * message is queued, so other programs' ICMP (ping, traceroute) costs us nothing. It is only a sieve: `icmp-quote.ts` decides.
 */
import {
  and,
  type Instruction,
  jumpEqual,
  KEEP_ALL,
  keep,
  loadByte,
  loadHalf,
  loadHalfIndexed,
  loadHeaderLength,
} from '../raw-socket/filter.ts';
import * as icmpv4 from '../wire/icmpv4.ts';
import * as icmpv6 from '../wire/icmpv6.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';

/** Jumps reach 255 instructions; a configuration with more ports than this is sieved without them. */
const MAX_PORTS = 200;

const DROP: readonly Instruction[] = [keep(0)];
const ACCEPT: readonly Instruction[] = [keep(KEEP_ALL)];

/** Goes on when A is `k`, else drops. */
function require(k: number): Instruction[] {
  return [jumpEqual(k, 1, 0), ...DROP];
}

/** Ends the program: keeps when A is one of `ports`. */
function keepPorts(ports: readonly number[]): Instruction[] {
  if (ports.length > MAX_PORTS) return [...ACCEPT];
  return [...ports.map((port, i) => jumpEqual(port, ports.length - i, 0)), ...DROP, ...ACCEPT];
}

/** What the filter lets through: ports of tunnels over UDP, IP protocols of those without. */
export interface Quoted {
  readonly ports: readonly number[];
  readonly protocols: readonly number[];
}

/** Ends the program, with the quoted protocol in A: keeps other tunnels than UDP's, and of UDP's those whose port `loadPort` finds to be ours. */
function keepTunnels({ ports, protocols }: Quoted, loadPort: Instruction): Instruction[] {
  const rest = [...require(ipv4.PROTOCOL_UDP), loadPort, ...keepPorts(ports)];
  // The last instruction of all keeps.
  return [...protocols.map((protocol, i) => jumpEqual(protocol, protocols.length - 2 - i + rest.length, 0)), ...rest];
}

/** For a raw IPv4 socket, which sees the packet from its IP header on. X is the length of that header. */
export function icmp4Filter(quoted: Quoted): Instruction[] {
  const quote = icmpv4.QUOTE_AT;
  return [
    loadHeaderLength(0),
    // Type and code share one half: the code is masked off.
    loadHalfIndexed(0),
    and(0xff00),
    ...require(icmpv4.TYPE_DESTINATION_UNREACHABLE << 8),
    // TTL and protocol of the quoted packet, likewise.
    loadHalfIndexed(quote + ipv4.TTL_AT),
    and(0xff),
    ...keepTunnels(quoted, loadHalfIndexed(quote + ipv4.HEADER_LENGTH + 2)),
  ];
}

/** For a raw ICMPv6 socket, which sees the packet from its ICMPv6 header on. */
export function icmp6Filter(quoted: Quoted): Instruction[] {
  const quote = icmpv6.QUOTE_AT;
  return [
    loadByte(0),
    // A protocol that a host does not know is a parameter problem.
    jumpEqual(icmpv6.TYPE_PARAMETER_PROBLEM, 3, 0),
    jumpEqual(icmpv6.TYPE_PACKET_TOO_BIG, 2, 0),
    ...require(icmpv6.TYPE_DESTINATION_UNREACHABLE),
    loadByte(quote + ipv6.NEXT_HEADER_AT),
    ...keepTunnels(quoted, loadHalf(quote + ipv6.HEADER_LENGTH + 2)),
  ];
}
