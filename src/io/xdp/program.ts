/**
 * The program at the interface: sends the services' packets to the AF_XDP socket of their receive queue and leaves everything else to the kernel. It never
 * changes: what a service is stands in maps (service-maps.ts).
 *
 * A packet is ours when its frame is addressed to this interface, its destination address lies in a service's prefix, and it is
 *  - of a protocol and to a port that a service of that address has;
 *  - a later fragment (it has no ports), or carries IPv6 extension headers;
 *  - ICMP or ICMPv6, but not neighbour discovery, which is about the link and the kernel's.
 * A queue without socket leaves its packets to the kernel: also in the moment after the director's death.
 *
 *     frame ─► our MAC? ─► VLAN tags (two at most) ─► address ─► protocol and port ─► socket of this queue
 *                 └──────────────┴────────────────────┴───────────────┴── no: to the kernel
 */
import {
  type BpfItem,
  call,
  exit,
  goto,
  HELPER_MAP_LOOKUP,
  HELPER_REDIRECT_MAP,
  label,
  load,
  loadMap,
  loadMapValue,
  r,
  set,
  store,
  when,
} from '../../raw-socket/bpf/instruction.ts';
import { XDP_PASS } from '../../raw-socket/bpf/program.ts';

/** struct xdp_md: data u32, data_end u32, data_meta u32, ingress_ifindex u32, rx_queue_index u32 */
const CONTEXT_DATA = 0;
const CONTEXT_END = 4;
const CONTEXT_QUEUE = 16;

/** A 16-bit field of a packet as a little-endian load sees it. */
const big = (value: number) => ((value & 0xff) << 8) | (value >> 8);

const ETHERNET = 14;
const ETHERTYPE_IPV4 = big(0x0800);
const ETHERTYPE_IPV6 = big(0x86dd);
const ETHERTYPE_VLAN = big(0x8100);
const ETHERTYPE_SERVICE_VLAN = big(0x88a8);
const FRAGMENT_OFFSET = big(0x1fff);
const ICMP = 1;
const ICMPV6 = 58;
/** Router and neighbour solicitations and advertisements, redirects (RFC 4861 §4). */
const DISCOVERY_FIRST = 133;
const DISCOVERY_LAST = 137;
/** Hop-by-hop, routing, fragment, authentication, destination options, mobility: headers that classify can look behind. */
const EXTENSIONS = [0, 43, 44, 51, 60, 135];

/**
 * The stack, from r10 down. Keys of longest-prefix maps begin with their length in bits.
 *
 *     −16  | u32 64 | u32 rule set | u8 protocol, u8 0 | be16 port |   key of `ports`
 *     −40  | u32 32 or 128 | address, 4 or 16 bytes    |               key of `services4`, `services6`
 */
const PORT_KEY = -16;
const ADDRESS_KEY = -40;

/** Adds nothing to the packet pointer r9 when `bytes` behind it are there, else leaves the packet to the kernel. */
function mustHave(bytes: number): BpfItem[] {
  return [set(2, '=', r(9)), set(2, '+=', bytes), when(2, '>', r(8), 'pass')];
}

/** r0 ← the value that `map` has for the key at `key` on the stack; to the kernel when it has none. r1–r5 are lost. */
function lookUp(map: string, key: number): BpfItem[] {
  return [set(2, '=', r(10)), set(2, '+=', key), loadMap(1, map), call(HELPER_MAP_LOOKUP), when(0, '==', 0, 'pass')];
}

/** Steps over one tag: r9 goes 4 bytes on, r5 holds the type behind it. */
function stepOverTag(name: string): BpfItem[] {
  return [
    when(5, '==', ETHERTYPE_VLAN, `${name}-tag`),
    when(5, '!=', ETHERTYPE_SERVICE_VLAN, `${name}-done`),
    label(`${name}-tag`),
    ...mustHave(4),
    load(2, 5, 9, 2),
    set(9, '+=', 4),
    label(`${name}-done`),
  ];
}

/** Registers from here on: r6 context, r7 first byte of the frame, r8 its end, r9 the network header. */
export const PROGRAM: readonly BpfItem[] = [
  set(6, '=', r(1)),
  load(4, 7, 6, CONTEXT_DATA),
  load(4, 8, 6, CONTEXT_END),
  set(9, '=', r(7)),
  ...mustHave(ETHERNET),
  // Only frames to this interface's own address: a packet in a frame to a group, or to another host, is nobody's to forward.
  loadMapValue(1, 'interface'),
  load(4, 2, 1, 0),
  load(4, 3, 9, 0),
  when(2, '!=', r(3), 'pass'),
  load(2, 2, 1, 4),
  load(2, 3, 9, 4),
  when(2, '!=', r(3), 'pass'),
  load(2, 5, 9, 12),
  set(9, '+=', ETHERNET),
  ...stepOverTag('outer'),
  ...stepOverTag('inner'),
  when(5, '==', ETHERTYPE_IPV4, 'ipv4'),
  when(5, '==', ETHERTYPE_IPV6, 'ipv6'),
  goto('pass'),

  label('ipv4'),
  ...mustHave(20),
  load(1, 3, 9, 0),
  set(3, '&=', 0xf0),
  when(3, '!=', 0x40, 'pass'),
  load(4, 1, 9, 16),
  store(4, 10, ADDRESS_KEY, 32),
  store(4, 10, ADDRESS_KEY + 4, r(1)),
  ...lookUp('services4', ADDRESS_KEY),
  load(1, 5, 9, 9),
  when(5, '==', ICMP, 'redirect'),
  load(2, 3, 9, 6),
  when(3, '&', FRAGMENT_OFFSET, 'redirect'),
  // Header length: the low nibble counts words of 4 bytes. Step by step: a pointer moved by what a packet says is for CAP_PERFMON only (the
  // verifier's guard against speculation), a pointer moved by constants is not.
  load(1, 3, 9, 0),
  set(3, '&=', 0x0f),
  when(3, '<', 5, 'pass'),
  set(9, '+=', 20),
  ...Array.from({ length: 10 }, (_, k) => [when(3, '<=', 5 + k, 'transport'), set(9, '+=', 4)]).flat(),
  goto('transport'),

  label('ipv6'),
  ...mustHave(40),
  load(1, 3, 9, 0),
  set(3, '&=', 0xf0),
  when(3, '!=', 0x60, 'pass'),
  store(4, 10, ADDRESS_KEY, 128),
  ...[0, 4, 8, 12].flatMap((at) => [load(4, 1, 9, 24 + at), store(4, 10, ADDRESS_KEY + 4 + at, r(1))]),
  ...lookUp('services6', ADDRESS_KEY),
  load(1, 5, 9, 6),
  ...EXTENSIONS.map((header) => when(5, '==', header, 'redirect')),
  set(9, '+=', 40),
  when(5, '!=', ICMPV6, 'transport'),
  ...mustHave(1),
  load(1, 3, 9, 0),
  when(3, '<', DISCOVERY_FIRST, 'redirect'),
  when(3, '>', DISCOVERY_LAST, 'redirect'),
  goto('pass'),

  // r0 the address's value: number of its rule set; r5 the protocol, r9 its header.
  label('transport'),
  store(4, 10, PORT_KEY, 64),
  load(4, 1, 0, 0),
  store(4, 10, PORT_KEY + 4, r(1)),
  // The byte of the protocol and a zero: one store.
  store(2, 10, PORT_KEY + 8, r(5)),
  // A packet that ends before its ports has port 0: its protocol may need none.
  set(1, '=', 0),
  set(2, '=', r(9)),
  set(2, '+=', 4),
  when(2, '>', r(8), 'port'),
  load(2, 1, 9, 2),
  label('port'),
  store(2, 10, PORT_KEY + 10, r(1)),
  ...lookUp('ports', PORT_KEY),

  label('redirect'),
  load(4, 2, 6, CONTEXT_QUEUE),
  // What it answers when the queue has no socket.
  set(3, '=', XDP_PASS),
  loadMap(1, 'sockets'),
  call(HELPER_REDIRECT_MAP),
  exit(),

  label('pass'),
  set(0, '=', XDP_PASS),
  exit(),
];
