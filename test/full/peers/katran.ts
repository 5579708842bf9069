// Katran's vectors: hashes of backends, rings, packet hashes, and its fixtures' packets in order through our packet path.

import { type IngressFacts, LINK_ETHERNET } from '../../../src/base/batch.ts';
import { loadText } from '../../../src/config/load.ts';
import {
  buildKatranRing,
  KATRAN_RING_SIZE,
  katranHash4,
  katranHash6,
  katranIdentity,
  katranSlot,
} from '../../../src/maglev-hash/index.ts';
import type { Spec } from '../../../src/pipeline/spec.ts';
import { createDecapsulated, decapsulate, REFUSALS } from '../../../src/worker/decapsulate.ts';
import { ip } from '../../builder/addresses.ts';
import { type Outcome, Rig } from '../../pipeline/rig.ts';
import { naiveChecksum, naivePseudoSum } from '../../reference/checksum.ts';
import { type Account, bytesOf, compare, hexOf, type KatranVectors, setApart } from './vectors.ts';

const REALS4 = ['10.0.0.1', '10.0.0.2', '10.0.0.3'];
const REALS6 = ['fc00::1', 'fc00::2', 'fc00::3'];
const ALL = [...REALS4, ...REALS6];
const REALS: Readonly<Record<string, readonly string[]>> = { '10.0.0.1-3': REALS4, 'fc00::1-3': REALS6, 'all six': ALL };

/** Real numbers by slot, as Katran's ring holds them: numbers from 1, in the order of ALL. */
function ringOf(reals: readonly string[]): number[] {
  const members = reals.map((address) => ({ address, hash: katranIdentity(ip(address)), weight: 1 }));
  members.sort((a, b) => (a.hash < b.hash ? -1 : 1));
  return Array.from(buildKatranRing(members, KATRAN_RING_SIZE, 'v1'), (slot) => 1 + ALL.indexOf(members[slot].address));
}

function fnv1a64(bytes: Uint8Array): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return hash.toString(16).padStart(16, '0');
}

export function checkRings({ header }: KatranVectors, account: Account): void {
  for (const [address, hash] of Object.entries(header.ring.per_real_hash)) {
    compare(account, `hash of ${address}`, katranIdentity(ip(address)).toString(16).padStart(16, '0'), hash);
  }
  for (const [name, first] of Object.entries(header.ring.first_20)) {
    const ring = ringOf(REALS[name.replace(/ \(.*/, '')]);
    compare(account, `first slots of the ring of ${name}`, ring.slice(0, first.length), first);
  }
  for (const [name, digest] of Object.entries(header.ring.fnv1a64_of_ring_as_le_int32)) {
    const ring = Int32Array.from(ringOf(REALS[name]));
    compare(account, `whole ring of ${name}`, fnv1a64(new Uint8Array(ring.buffer)), digest);
  }
  for (const vector of header.packet_hash.vectors) {
    const address = ip(vector.src);
    const view = new DataView(address.buffer, address.byteOffset);
    const ports = new DataView(new ArrayBuffer(4));
    ports.setUint16(0, vector.sport);
    ports.setUint16(2, vector.dport_hashed);
    const word = ports.getInt32(0, true);
    const hash = vector.family === 'v4' ? katranHash4(view.getInt32(0, true), word) : katranHash6(view, 0, word);
    const slot = katranSlot(hash, KATRAN_RING_SIZE);
    const real = ALL[ringOf(REALS[vector.reals])[slot] - 1];
    const ours = [(hash >>> 0).toString(16).padStart(8, '0'), slot, real];
    compare(account, `packet hash ${vector.src} ${vector.dport_hashed}`, ours, [vector.hash_hex, vector.ring_slot, vector.real]);
  }
}

interface Pool {
  readonly reals: readonly string[];
  /** In no slot of the ring, but named by server ids. */
  readonly others?: readonly string[];
  readonly down?: readonly string[];
  readonly hash?: string;
}

interface Vip {
  readonly address: string;
  readonly protocol: 'tcp' | 'udp';
  readonly port: number | 'all';
  readonly pool: string;
  readonly quic?: true;
}

const SERVER_IDS: Readonly<Record<string, number>> = {
  '10.0.0.1': 1022,
  '10.0.0.2': 1023,
  '10.0.0.3': 1025,
  'fc00::1': 1024,
  'fc00::2': 1026,
  'fc00::3': 1027,
};

function configuration(tunnel: string, pools: Readonly<Record<string, Pool>>, vips: readonly Vip[]): Spec {
  const services = vips.map(({ address, protocol, port, pool, quic }, i) => {
    const routing = quic ? ', quic: { scheme: katran }' : '';
    return `  - { name: s${i}, address: "${address}", protocol: ${protocol}, port: ${port}, pool: ${pool}${routing} }`;
  });
  const texts = Object.entries(pools).map(([name, { reals, others = [], down = [], hash = 'flow' }]) => {
    const quic = vips.some((vip) => vip.quic && vip.pool === name);
    const backends = [...reals, ...others].map((address) => {
      const id = SERVER_IDS[address];
      const server = quic ? `, server-id: [${id}, ${id | 0x030000}]` : '';
      const weight = others.includes(address) ? ', weight: 0' : '';
      const state = down.includes(address) ? ', state: down' : '';
      return `{ name: "${address.replaceAll(':', '-')}", address: "${address}"${weight}${state}${server} }`;
    });
    return `  ${name}: { scheme: { name: katran, hash: ${hash} }, backends: [${backends.join(', ')}] }`;
  });
  const text = ['services:', ...services, 'pools:', ...texts, `tunnel: ${tunnel}`, ''].join('\n');
  return loadText(text, 'katran.yaml').spec;
}

const GUE =
  '{ encapsulation: gue-v1, port: 9886, checksum: full, headers: katran, source: { ipv4: 10.0.13.37, ipv6: "fc00:2307::1337" } }';
/** Katran makes the source of an IPIP packet from the flow: its own prefixes. */
const IPIP = '{ encapsulation: ipip, headers: katran, source: { ipv4: 172.16.0.0/16, ipv6: "100::/96" } }';

const POOLS_A: Readonly<Record<string, Pool>> = {
  v4: { reals: REALS4 },
  v6: { reals: REALS6 },
  ports: { reals: REALS4, hash: 'destination-port-only' },
  quic4: { reals: REALS4, others: REALS6 },
  quic6: { reals: REALS6, others: REALS4 },
  none: { reals: [] },
};
const VIPS_A: readonly Vip[] = [
  { address: '10.200.1.1', protocol: 'udp', port: 80, pool: 'v4' },
  { address: '10.200.1.1', protocol: 'tcp', port: 80, pool: 'v4' },
  { address: '10.200.1.2', protocol: 'tcp', port: 'all', pool: 'v4' },
  { address: '10.200.1.4', protocol: 'tcp', port: 'all', pool: 'ports' },
  { address: '10.200.1.3', protocol: 'tcp', port: 80, pool: 'v6' },
  { address: 'fc00:1::1', protocol: 'tcp', port: 80, pool: 'v6' },
  { address: '10.200.1.5', protocol: 'udp', port: 443, pool: 'quic4', quic: true },
  { address: 'fc00:1::2', protocol: 'udp', port: 443, pool: 'quic6', quic: true },
  { address: '10.200.1.6', protocol: 'udp', port: 80, pool: 'v4' },
  { address: '10.200.1.99', protocol: 'tcp', port: 80, pool: 'none' },
  { address: 'fc00:1::11', protocol: 'udp', port: 80, pool: 'none' },
];
const VIPS_B: readonly Vip[] = [
  { address: '10.200.1.1', protocol: 'udp', port: 80, pool: 'v4' },
  { address: 'fc00:1::1', protocol: 'tcp', port: 80, pool: 'v6' },
  { address: '10.200.1.2', protocol: 'udp', port: 80, pool: 'v6' },
];
const VIPS_D: readonly Vip[] = [
  { address: '10.200.1.1', protocol: 'udp', port: 80, pool: 'migrates' },
  { address: '10.200.1.2', protocol: 'udp', port: 80, pool: 'migrates' },
  { address: '10.200.1.3', protocol: 'udp', port: 80, pool: 'stays' },
  { address: '10.200.1.4', protocol: 'tcp', port: 80, pool: 'stays' },
];
const six = (from: number) => [`fc00::${from}`, `fc00::${from + 1}`];
const POOLS_E: Readonly<Record<string, Pool>> = Object.fromEntries([1, 3, 5, 7].map((n) => [`e${n}`, { reals: six(n) }]));
const VIPS_E: readonly Vip[] = [
  { address: 'fc00:1::/96', protocol: 'tcp', port: 'all', pool: 'e1' },
  { address: 'fc00:2::/96', protocol: 'tcp', port: 443, pool: 'e3' },
  { address: 'fc00:3::/96', protocol: 'udp', port: 'all', pool: 'e5' },
  { address: 'fc00:4::/96', protocol: 'udp', port: 443, pool: 'e7' },
];
const hundred = (name: (n: number) => string) => Array.from({ length: 100 }, (_, i) => name(i + 1));
/** What was seen of Katran's program beside its fixtures: a hundred reals, and the checksums that it gets wrong. */
const POOLS_WIDE: Readonly<Record<string, Pool>> = {
  wide4: { reals: hundred((n) => `10.1.0.${n}`) },
  wide6: { reals: hundred((n) => `fc00:1::${n.toString(16)}`) },
};
const VIPS_WIDE: readonly Vip[] = [
  { address: '192.0.2.1', protocol: 'tcp', port: 443, pool: 'wide4' },
  { address: '2001:db8::1', protocol: 'tcp', port: 443, pool: 'wide6' },
  { address: '192.0.2.3', protocol: 'tcp', port: 443, pool: 'wide6' },
];
const VIPS_OBSERVED: readonly Vip[] = (['tcp', 'udp'] as const).flatMap((protocol) => [
  { address: '10.200.1.1', protocol, port: 80, pool: 'v4' },
  { address: 'fc00:1::1', protocol, port: 80, pool: 'v6' },
]);

/** Real 2 is marked down for the first two VIPs of configuration D: its flows move. */
const specD = (down: readonly string[]) => configuration(GUE, { migrates: { reals: ALL, down }, stays: { reals: ALL } }, VIPS_D);

/** What is not ours to do, by set and by packet. */
const APART: readonly (readonly [RegExp, string])[] = [
  [/^(xpop_decap|egress_decap|gue_decap_stats\/0[12])/, 'the director unwraps tunnel packets itself; here only workers do'],
  [/^xdpdecap_gue\/(0[1-5]|1[01])$/, "no tunnel packet: a worker's socket never sees it"],
  [/^healthcheck/, "Katran's health checks leave marked through tc"],
  [/^tpr_gue\/(0[2345]|07|1[135])/, 'a server id in a TCP option of its own (TPR)'],
  [/^tpr_gue\/(08|09|10|16)$/, 'goes by the flow that such a packet before it made'],
  [/^udp_stable_routing/, 'a server id in a UDP payload of its own'],
  [/^lpm_source_routing\/0[123568]/, "a backend by the client's prefix (source routing)"],
  [
    /^icmp_too_big/,
    'its answer about a packet over a fixed size: ours is by the path MTU and quotes more (docs/path-mtu-answers.md)',
  ],
  [/^(gue\/10|ipip\/12)$/, 'it drops IPv4 options, which we forward'],
  [/^(gue\/1[12]|ipip\/1[34])$/, 'it drops fragments, which we steer (docs/fragments.md)'],
  [/^ipip\/33$/, 'it drops what is over 1,500 bytes, whatever the path'],
];

/** As a driver that owns the packet and has counted the hop: Katran leaves the inner TTL as it is. */
const FACTS: IngressFacts = { link: LINK_ETHERNET, hopDone: true, canPass: true, headerVerified: false };

/** Katran's outer checksum is wrong around ICMP errors and around UDP whose own checksum is: ours is of the bytes that are sent. */
function withRightChecksum(expected: Uint8Array): Uint8Array {
  const bytes = expected.slice();
  const view = new DataView(bytes.buffer);
  const isOuter4 = bytes[0] >> 4 === 4;
  const transport = isOuter4 ? 20 : 40;
  if ((isOuter4 ? bytes[9] : bytes[6]) !== 17) return bytes;
  view.setUint16(transport + 6, 0);
  const [src, dst] = isOuter4
    ? [bytes.subarray(12, 16), bytes.subarray(16, 20)]
    : [bytes.subarray(8, 24), bytes.subarray(24, 40)];
  const datagram = bytes.subarray(transport);
  view.setUint16(
    transport + 6,
    naiveChecksum(datagram, 0, datagram.length, naivePseudoSum(src, dst, 17, datagram.length)) || 0xffff,
  );
  return bytes;
}

/** The vectors' ICMPv6 errors have a wrong checksum of their own, with which they are dropped here. The rest is looked at with the right one. */
function completeIcmpv6(packet: Uint8Array): void {
  if (packet[0] >> 4 !== 6 || packet[6] !== 58) return;
  const message = packet.subarray(40);
  message.set([0, 0], 2);
  const sum = naiveChecksum(
    message,
    0,
    message.length,
    naivePseudoSum(packet.subarray(8, 24), packet.subarray(24, 40), 58, message.length),
  );
  message.set([sum >> 8, sum & 255], 2);
}

/** Those in which that is done. */
const WRONG_ICMPV6 = /^(gue\/09|ipip\/11)$/;

/** Katran leaves the link's padding behind its datagram. */
function withoutPadding(packet: Uint8Array): Uint8Array {
  if (packet.length < 40) return packet;
  const [at, header] = packet[0] >> 4 === 4 ? [2, 0] : [4, 40];
  return packet.subarray(0, header + packet[at] * 256 + packet[at + 1]);
}

function expectedText(action: string, out: Uint8Array): string {
  if (action === 'XDP_PASS') return 'pass';
  if (action === 'XDP_DROP') return 'drop';
  return `sent ${hexOf(out)}`;
}

function ourText({ verdict, bytes }: Outcome): string {
  if (verdict === 'forward') return `sent ${hexOf(bytes as Uint8Array)}`;
  // Answered in place, behind the link header.
  return verdict === 'reply' ? `sent ${hexOf((bytes as Uint8Array).subarray(14))}` : verdict;
}

/** What our worker takes out of a tunnel packet, given as a frame: the inner packet. */
function unwrapped(frame: Uint8Array): string {
  const transport = frame[12] === 0x08 ? 34 : 54;
  const out = createDecapsulated();
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (!decapsulate(view, transport + 8, frame.length - transport - 8, out)) return REFUSALS[out.refusal];
  return hexOf(frame.subarray(out.innerAt, out.innerAt + out.innerLength));
}

export function checkPackets({ vectors }: KatranVectors, account: Account): void {
  const rigOf = (spec: Spec) => new Rig(spec, FACTS);
  const a = configuration(GUE, POOLS_A, VIPS_A);
  const rigs: Record<string, Rig> = {
    gue: rigOf(a),
    ipip: rigOf(configuration(IPIP, POOLS_A, VIPS_A)),
    gue_decap_stats: rigOf(configuration(GUE, { v4: { reals: REALS4 }, v6: { reals: REALS6 } }, VIPS_B)),
    udp_flow_migration_1: rigOf(specD([])),
    cidr_vip: rigOf(configuration(GUE, POOLS_E, VIPS_E)),
    lpm_source_routing: rigOf(a),
    tpr_gue: rigOf(a),
    observed: rigOf(configuration(GUE, { v4: { reals: REALS4 }, v6: { reals: REALS6 } }, VIPS_OBSERVED)),
    wide: rigOf(configuration(GUE.replace('9886', '6080'), POOLS_WIDE, VIPS_WIDE)),
  };
  // Katran goes on with the flows of the first part.
  rigs.udp_flow_migration_2 = rigs.udp_flow_migration_1;
  let isDown = false;
  for (const vector of vectors) {
    const { name, set, expected_action: action } = vector;
    const apart = APART.find(([pattern]) => pattern.test(name));
    if (apart !== undefined) {
      setApart(account, name, apart[1]);
      continue;
    }
    if (set === 'xdpdecap_gue') {
      compare(account, name, unwrapped(bytesOf(vector.in_hex)), hexOf(bytesOf(vector.out_hex ?? '').subarray(14)));
      continue;
    }
    if (set === 'udp_flow_migration_2' && !isDown) {
      rigs[set].publish(specD(['10.0.0.2']), 10);
      isDown = true;
    }
    const rig = rigs[/^observed\/v[46]_vip/.test(name) ? 'wide' : set];
    if (rig === undefined) {
      account.wrong.push(`${name}: a set that nothing is known about`);
      continue;
    }
    const out = withoutPadding(bytesOf(vector.out_hex ?? '').subarray(14));
    const frame = bytesOf(vector.in_hex);
    if (WRONG_ICMPV6.test(name)) {
      completeIcmpv6(frame.subarray(14));
      completeIcmpv6(out.subarray(out.length - (frame.length - 14)));
    }
    const ours = ourText(rig.one(frame, { now: isDown ? 11 : 0 }));
    let theirs = expectedText(action, out);
    // Not their checksum but the right one; where theirs is right it is the same.
    if (theirs.startsWith('sent') && out.length > 40) theirs = expectedText(action, withRightChecksum(out));
    compare(account, name, ours, theirs);
  }
}
