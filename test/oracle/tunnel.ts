// Encapsulated super-packets through a TAP device (Linux ≥ 6.17): the kernel segments inside the tunnel (__skb_udp_tunnel_segment, the
// function that dropped the packets in the incident this project began with), and every segment must equal ours, outer headers and inner.
//
//     | Ethernet 14 | outer IP 20 / 40 | UDP 8 | GUE 4 | inner IP, TCP / UDP, payload |
//                                      ^ outer_th_offset   ^ inner_nh_offset
//
// The outer headers of our segments are written from the backend's template, as `encapsulate` does it; their identification counts up
// from the template's 0, as the kernel's does.

import { innerSum } from '../../src/pipeline/local-checksum.ts';
import { OUTER4, type OuterTemplate, outerTemplate } from '../../src/pipeline/outer-template.ts';
import * as checksum from '../../src/wire/checksum.ts';
import * as ipv4 from '../../src/wire/ipv4.ts';
import * as ipv6 from '../../src/wire/ipv6.ts';
import * as udp from '../../src/wire/udp.ts';
import { DESTINATION4, DESTINATION6, randomShape, SOURCE4, SOURCE6, superPacket } from '../builder/super-packet.ts';
import type { Random } from '../full/random.ts';
import { naiveChecksum, naivePseudoSum } from '../reference/checksum.ts';
import { transportOf } from '../reference/segment.ts';
import { type Facts, KernelSegmenter, TAP_MAC, TUNNEL_OFFLOAD } from './kernel.ts';
import { difference, OurSegmenter } from './ours.ts';

const ETHERNET = 14;
const GUE_PORT = 6080;
const SOURCE_PORT = 50_123;
const OUTER_TTL = 64;

const BIT_TUNNEL4 = 0x20;
const BIT_TUNNEL6 = 0x40;
/** The outer UDP checksum holds its pseudo-header's sum and is to be completed too. */
const FLAG_TUNNEL_CHECKSUM = 8;

function templateOf(family: 4 | 6, withChecksum: boolean): OuterTemplate {
  const spec = {
    encapsulation: 'gue',
    port: GUE_PORT,
    source4: SOURCE4,
    source6: SOURCE6,
    checksum: withChecksum ? 'full' : 'none',
  } as const;
  return family === 4 ? outerTemplate(spec, SOURCE4, DESTINATION4) : outerTemplate(spec, SOURCE6, DESTINATION6);
}

/** Writes the outer headers of one segment at `at`, its inner headers already standing behind them. `ttl`: the outer one. */
function writeOuter(
  template: OuterTemplate,
  view: DataView,
  at: number,
  k: number,
  inner: Uint8Array,
  innerLength: number,
  ttl: number,
): void {
  const { overhead, bytes } = template;
  for (let b = 0; b < overhead; b++) view.setUint8(at + b, bytes[b]);
  const network = at;
  const transport = network + overhead - 12;
  const innerAt = at + overhead;
  const { at: innerTransport, protocol } = transportOf(inner);
  const innerFamily = inner[0] >> 4;
  const gueProtocol = innerFamily === 4 ? 4 : 41;
  view.setUint8(transport + 9, gueProtocol);
  const datagram = overhead - (transport - network) + innerLength;
  const trafficClass = innerFamily === 4 ? ipv4.trafficClass(view, innerAt) : ipv6.trafficClass(view, innerAt);
  if (template.family === 4) {
    ipv4.setTrafficClass(view, network, trafficClass);
    ipv4.setTotalLength(view, network, OUTER4 + datagram);
    ipv4.setIdentification(view, network, k);
    ipv4.setTtl(view, network, ttl);
    ipv4.setChecksum(view, network, ipv4.computeChecksum(view, network));
  } else {
    ipv6.setTrafficClass(view, network, trafficClass);
    ipv6.setPayloadLength(view, network, datagram);
    ipv6.setHopLimit(view, network, ttl);
  }
  udp.setSourcePort(view, transport, SOURCE_PORT);
  udp.setLength(view, transport, datagram);
  if (template.checksum !== 'all') return;
  const start = template.datagramSum + datagram + datagram + SOURCE_PORT + gueProtocol;
  const sum = start + innerSum(view, innerAt, innerAt + innerTransport, innerLength, protocol);
  udp.setChecksum(view, transport, checksum.finishUdp(sum));
}

/**
 * The frame for the TAP device: everything in one piece, its outer lengths those of the whole. The outer checksum of a train is left to
 * the kernel; that of a packet that needs no cutting is not its business (it looks at the outer header only when it segments).
 */
function wholeFrame(template: OuterTemplate, inner: Uint8Array, isTrain: boolean): Uint8Array {
  const { overhead, family } = template;
  const frame = new Uint8Array(ETHERNET + overhead + inner.length);
  const view = new DataView(frame.buffer);
  frame.set(TAP_MAC);
  frame.set([2, 0, 0, 0, 0, 1], 6);
  frame.set(family === 4 ? [0x08, 0x00] : [0x86, 0xdd], 12);
  frame.set(inner, ETHERNET + overhead);
  const isFilled = template.checksum === 'all';
  const asWritten = { ...template, checksum: isFilled && !isTrain ? ('all' as const) : ('none' as const) };
  writeOuter(asWritten, view, ETHERNET, 0, inner, inner.length, OUTER_TTL);
  if (isFilled && isTrain) {
    const transport = ETHERNET + overhead - 12;
    const [source, destination] = family === 4 ? [SOURCE4, DESTINATION4] : [SOURCE6, DESTINATION6];
    udp.setChecksum(view, transport, naivePseudoSum(source, destination, 17, frame.length - transport));
  }
  return frame;
}

export interface TunnelResult {
  readonly wrong: string[];
  readonly figures: Readonly<Record<string, number | string>>;
}

/** The kernel's TAP side, or null when this kernel takes no encapsulated super-packets. */
function openTunnel(): KernelSegmenter | null {
  try {
    return new KernelSegmenter('tap', TUNNEL_OFFLOAD, 24);
  } catch (error) {
    if (!(error as Error).message.startsWith('TUNSETOFFLOAD')) throw error;
    return null;
  }
}

export function tunnelCases(cases: number, random: Random): TunnelResult {
  const kernel = openTunnel();
  if (kernel === null) return { wrong: [], figures: { 'encapsulated super-packets': 'not on this kernel (before 6.17)' } };
  const ours = new OurSegmenter();
  const wrong: string[] = [];
  let segments = 0;
  let trains = 0;
  let stale = 0;
  let staleTaken = 0;
  let refused = 0;
  try {
    for (let number = 0; number < cases && wrong.length < 4; number++) {
      const outerFamily = number % 2 === 0 ? 4 : 6;
      const template = templateOf(outerFamily, number % 4 < 2);
      const family = number % 8 < 4 ? 4 : 6;
      const protocol = number % 16 < 8 ? 6 : 17;
      const shape = { ...randomShape(random, family, protocol), finished: false };
      // The outer packet must be one that its own length field can tell.
      const inner = superPacket({ ...shape, payload: Math.min(shape.payload, 65_200) });
      const { at } = transportOf(inner);
      const innerAt = ETHERNET + template.overhead;
      const headers = protocol === 6 ? (inner[at + 12] >> 4) * 4 : 8;
      const isTrain = inner.length - at - headers > shape.segmentSize;
      if (isTrain) trains++;
      const innerFacts: Facts = {
        flags: 1,
        gsoType: protocol === 17 ? 5 : family === 4 ? 1 : 4,
        headerLength: 0,
        gsoSize: shape.segmentSize,
        csumStart: at,
        csumOffset: protocol === 6 ? 16 : 6,
      };
      const facts: Facts = {
        flags: template.checksum === 'all' && isTrain ? 1 | FLAG_TUNNEL_CHECKSUM : 1,
        gsoType: innerFacts.gsoType | (outerFamily === 4 ? BIT_TUNNEL4 : BIT_TUNNEL6),
        headerLength: innerAt + at + headers,
        gsoSize: shape.segmentSize,
        csumStart: innerAt + at,
        csumOffset: innerFacts.csumOffset,
        tunnel: { outerTransportAt: innerAt - 12, innerNetworkAt: innerAt },
      };
      const frame = wholeFrame(template, inner, isTrain);
      const verdict = kernel.segment(facts, frame);
      // The inner packet's TTL is decremented before it is encapsulated; here the kernel forwards the outer one only.
      const raised = inner.slice();
      raiseTtl(raised);
      const mine = ours.segment(innerFacts, raised, template.overhead, (view, record, k, innerLength) =>
        writeOuter(template, view, record, k, inner, innerLength, OUTER_TTL - 1),
      );
      const name = `tunnel case ${number} ${JSON.stringify({ shape, facts, template: template.family })}`;
      if (mine.refused !== null || verdict.segments.length === 0) {
        if (mine.refused === null) wrong.push(`${name}: the kernel refused (${verdict.refused ?? 'silently'})`);
        else if (verdict.segments.length > 0) wrong.push(`${name}: refused for "${mine.refused}"`);
        refused++;
        continue;
      }
      segments += mine.segments.length;
      const said = difference(mine.segments, verdict.segments);
      if (said !== null) wrong.push(`${name}: ${said}`);
      if (!isTrain || stale >= cases / 8) continue;
      // The incident: one offset an Ethernet header away from the truth.
      for (const wrongBy of [-ETHERNET, ETHERNET]) {
        const tunnel = { outerTransportAt: innerAt - 12, innerNetworkAt: innerAt + wrongBy };
        const answer = kernel.segment({ ...facts, tunnel }, frame);
        stale++;
        if (answer.refused === 'EINVAL') continue;
        // Too far in: the kernel sees it only where no IP header fits before the transport header, and takes UDP's for IPv4's.
        const gap = at - wrongBy;
        if (wrongBy < 0 || gap < (protocol === 6 && family === 6 ? 40 : 20))
          wrong.push(`${name}: inner offset wrong by ${wrongBy}: ${answer.refused ?? 'taken'}`);
        else if (difference(mine.segments, answer.segments) === null) wrong.push(`${name}: a stale offset changed nothing`);
        else staleTaken++;
      }
    }
  } finally {
    kernel.close();
  }
  return {
    wrong,
    figures: {
      'encapsulated super-packets': cases,
      'of which trains': trains,
      'encapsulated segments compared': segments,
      'encapsulated, refused by both': refused,
      'stale inner offsets': stale,
      'of which the kernel takes, and sends nothing right': staleTaken,
    },
  };
}

/** One hop earlier: TTL or hop limit + 1, IPv4 header checksum right. */
function raiseTtl(packet: Uint8Array): void {
  if (packet[0] >> 4 === 6) {
    packet[7]++;
    return;
  }
  packet[8]++;
  packet.fill(0, 10, 12);
  const value = naiveChecksum(packet, 0, (packet[0] & 15) * 4);
  packet.set([value >> 8, value & 255], 10);
}
