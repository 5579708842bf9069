/**
 * The in-kernel filter of the `packet` driver: copies only what some service wants, so that other traffic of the interface costs
 * one program run and no copy. A packet is copied when any service's prefix holds its destination address and it is
 *  - of the service's protocol, with a destination port in its range;
 *  - a later fragment (it has no ports), or carries IPv6 extension headers (ports can not be found by a fixed offset);
 *  - ICMP or ICMPv6 to that address.
 *
 * Programs have at most 4,096 instructions. Where ports do not fit, a coarser program asks for the prefix only; where prefixes do
 * not fit either, all IP sent to this host is copied and classify sorts it out: correct, only dearer.
 *
 *     Ethernet 14 bytes (the VLAN tag is not in the frame: the kernel took it out), IPv4 from 14, IPv6 from 14
 */
import type { Prefix } from '../../base/address.ts';
import { PROTOCOL_ANY } from '../../base/any-protocol.ts';
import type { Instruction } from '../../raw-socket/filter.ts';
import {
  and,
  jump,
  jumpAnyBit,
  jumpAtLeast,
  jumpEqual,
  jumpGreater,
  KEEP_ALL,
  keep,
  loadByte,
  loadHalf,
  loadHalfIndexed,
  loadHeaderLength,
  loadWord,
  MAX_INSTRUCTIONS,
  PACKET_TYPE_AT,
} from '../../raw-socket/filter.ts';

/** What one service asks for: packets to these addresses, of this protocol, to these ports (inclusive). */
export interface ServiceMatch {
  readonly prefix: Prefix;
  /** IP protocol number, or PROTOCOL_ANY. */
  readonly protocol: number;
  readonly portFrom: number;
  readonly portTo: number;
}

export type FilterPrecision = 'ports' | 'prefixes' | 'all-ip';

export interface PacketFilter {
  readonly program: readonly Instruction[];
  readonly precision: FilterPrecision;
}

type Program = readonly Instruction[];

/** linux/if_packet.h: the frame is addressed to this interface, not to a group, another host, or sent by ourselves. */
const PACKET_HOST = 0;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const ICMP = 1;
const ICMPV6 = 58;
/** Hop-by-hop, routing, fragment, authentication, destination options, mobility: headers that classify can look behind. */
const EXTENSIONS = [0, 43, 44, 51, 60, 135];
/** A conditional jump reaches this far. */
const REACH = 255;

interface PrefixRules {
  readonly prefix: Prefix;
  readonly rules: { readonly protocol: number; readonly portFrom: number; readonly portTo: number }[];
}

/** The most precise program that fits. Services in any order; none at all makes a program that keeps nothing. */
export function packetFilter(services: readonly ServiceMatch[]): PacketFilter {
  const grouped = groupByPrefix(services);
  if (grouped.length === 0) return { program: [keep(0)], precision: 'ports' };
  for (const precision of ['ports', 'prefixes'] as const) {
    const program = assemble(grouped, precision === 'ports');
    if (program.length <= MAX_INSTRUCTIONS) return { program, precision };
  }
  const copy = [keep(KEEP_ALL)];
  return {
    program: [...head(), ...when(ETHERTYPE_IPV4, copy), ...when(ETHERTYPE_IPV6, copy), keep(0)],
    precision: 'all-ip',
  };
}

function groupByPrefix(services: readonly ServiceMatch[]): PrefixRules[] {
  const groups = new Map<string, PrefixRules>();
  for (const { prefix, protocol, portFrom, portTo } of services) {
    const key = `${prefix.bytes.join('.')}/${prefix.length}`;
    let group = groups.get(key);
    if (group === undefined) {
      group = { prefix, rules: [] };
      groups.set(key, group);
    }
    group.rules.push({ protocol, portFrom, portTo });
  }
  return [...groups.values()];
}

function assemble(groups: readonly PrefixRules[], ports: boolean): Program {
  const of4 = groups.filter((group) => group.prefix.bytes.length === 4);
  const of6 = groups.filter((group) => group.prefix.bytes.length === 16);
  const copy = [keep(KEEP_ALL)];
  const program = [...head()];
  if (of4.length > 0) {
    const blocks = of4.flatMap((group) => whenPrefix(group.prefix, 30, ports ? rules4(group) : copy));
    program.push(...when(ETHERTYPE_IPV4, [loadHeaderLength(14), ...blocks, keep(0)]));
  }
  if (of6.length > 0) {
    const blocks = of6.flatMap((group) => whenPrefix(group.prefix, 38, ports ? rules6(group) : copy));
    program.push(...when(ETHERTYPE_IPV6, [...blocks, keep(0)]));
  }
  return [...program, keep(0)];
}

/**
 * Only what is addressed to this host's own MAC address: an IP packet in a frame to a group is nobody's to forward (RFC 1812 5.3.4),
 * and each host of the link would do it. Leaves A = EtherType.
 */
function head(): Program {
  return [loadWord(PACKET_TYPE_AT), jumpEqual(PACKET_HOST, 1, 0), keep(0), loadHalf(12)];
}

/** Runs `body` when A equals `k`, else goes on behind it. What follows may be reached through the body: A is then undefined. */
function when(k: number, body: Program): Program {
  if (body.length <= REACH) return [jumpEqual(k, 0, body.length), ...body];
  return [jumpEqual(k, 1, 0), jump(body.length), ...body];
}

/** Runs `body` when the address at offset `at` lies in `prefix`. */
function whenPrefix(prefix: Prefix, at: number, body: Program): Program {
  let program = body;
  // From the last word to the first: each test wraps what follows it.
  for (let word = Math.ceil(prefix.length / 32) - 1; word >= 0; word--) {
    const bits = Math.min(32, prefix.length - word * 32);
    const value = new DataView(prefix.bytes.buffer, prefix.bytes.byteOffset + word * 4, 4).getUint32(0);
    const mask = bits === 32 ? [] : [and((0xffffffff << (32 - bits)) >>> 0)];
    program = [loadWord(at + word * 4), ...mask, ...when(value, program)];
  }
  return program;
}

/** IPv4: ICMP, later fragments, then ports behind a header of X bytes. Protocol at 23, fragment offset in 13 bits at 20. */
function rules4(group: PrefixRules): Program {
  return [
    loadByte(23),
    ...when(ICMP, [keep(KEEP_ALL)]),
    loadHalf(20),
    jumpAnyBit(0x1fff, 0, 1),
    keep(KEEP_ALL),
    ...byProtocol(group, 23, loadHalfIndexed(16)),
  ];
}

/** IPv6: ICMPv6 and extension headers, then ports behind the fixed header. Next header at 20. */
function rules6(group: PrefixRules): Program {
  return [
    loadByte(20),
    ...[ICMPV6, ...EXTENSIONS].flatMap((protocol) => when(protocol, [keep(KEEP_ALL)])),
    ...byProtocol(group, 20, loadHalf(56)),
  ];
}

function byProtocol(group: PrefixRules, protocolAt: number, loadPort: Instruction): Program {
  if (group.rules.some((rule) => rule.protocol === PROTOCOL_ANY)) return [keep(KEEP_ALL)];
  const program: Instruction[] = [];
  for (const protocol of new Set(group.rules.map((rule) => rule.protocol))) {
    const ranges = group.rules.filter((rule) => rule.protocol === protocol);
    const all = ranges.some((rule) => rule.portFrom === 0 && rule.portTo === 65535);
    const body = all ? [keep(KEEP_ALL)] : [loadPort, ...ranges.flatMap((rule) => whenPort(rule.portFrom, rule.portTo))];
    program.push(loadByte(protocolAt), ...when(protocol, body));
  }
  return program;
}

function whenPort(from: number, to: number): Program {
  if (from === to) return when(from, [keep(KEEP_ALL)]);
  return [jumpAtLeast(from, 0, 2), jumpGreater(to, 1, 0), keep(KEEP_ALL)];
}
