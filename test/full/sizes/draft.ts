// A frame with its virtio-net facts, made from a seed: mostly right, then bent in one or more places. Every length, offset and header that
// the packet path reads can be a lie.
//
//     canvas   | room for Ethernet and tags | IP, options or extension headers | TCP / UDP / ICMP | payload | padding |
//              0                            PACKET_AT

import type { IngressFacts } from '../../../src/base/batch.ts';
import { LINK_ETHERNET } from '../../../src/base/batch.ts';
import type { FrameFacts } from '../../../src/io/memory/ingress.ts';
import { naiveChecksum, naivePseudoSum, naiveSum } from '../../reference/checksum.ts';
import { bend, repairHeader } from '../mutation.ts';
import { VIP4, VIP6 } from '../packets.ts';
import { Random } from '../random.ts';

const PACKET_AT = 32;
const CANVAS = 70_000;
const TCP = 6;
const UDP = 17;

/** A frame as a driver delivers it. */
export interface Case {
  readonly frame: Uint8Array;
  readonly facts: Required<FrameFacts>;
}

const EXTENSIONS = [0, 43, 44, 51, 60, 135, 139, 140];
const SEGMENT_SIZES = [88, 536, 1220, 1400, 1428, 1440, 1448, 1452, 1460, 8948, 9000];
const TCP_FLAGS = [0x10, 0x18, 0x10, 0x18, 0x11, 0x19, 0x02, 0x12, 0x04, 0x14, 0x50, 0x90, 0x30, 0xd8];
/** Random bytes that payloads are taken from, anywhere: quicker than new ones for each. */
const POOL = new Random(99).fill(new Uint8Array(1 << 18));

const canvas = new Uint8Array(CANVAS);
const view = new DataView(canvas.buffer);

/** What one packet is made of, while it is made. */
interface Sketch {
  family: 4 | 6;
  protocol: number;
  transportAt: number;
  /** Where the payload begins. */
  payloadAt: number;
  end: number;
}

function payloadLength(random: Random): number {
  const kind = random.below(100);
  if (kind < 10) return random.below(8);
  if (kind < 50) return random.below(1500);
  if (kind < 60) return 1300 + random.below(220);
  if (kind < 90) return random.below(6000);
  if (kind < 98) return random.below(20_000);
  return random.chance(4) ? 65_400 + random.below(200) : random.below(65_536);
}

function writeAddresses(random: Random, family: 4 | 6, sourceAt: number, destinationAt: number): void {
  if (family === 4) {
    view.setUint32(sourceAt, 0xc6336400 + random.below(256));
    if (random.chance(25)) view.setUint8(sourceAt, random.pick([0, 127, 224, 240, 255]));
    if (random.chance(60)) canvas.set(VIP4, sourceAt);
    if (random.chance(200)) view.setUint32(sourceAt, 0xffffffff);
    canvas.set(VIP4, destinationAt);
    if (random.chance(40)) canvas[destinationAt + 3] ^= 1 + random.below(255);
    return;
  }
  canvas.set(VIP6, sourceAt);
  if (!random.chance(60)) random.fill(canvas.subarray(sourceAt + 4, sourceAt + 16));
  if (random.chance(25)) view.setUint16(sourceAt, random.pick([0xff02, 0xfe80, 0xfe9f, 0]));
  if (random.chance(60)) canvas.fill(0, sourceAt, sourceAt + 15);
  canvas.set(VIP6, destinationAt);
  if (random.chance(40)) canvas[destinationAt + 15] ^= 1 + random.below(255);
}

/** IPv4 options of `length` bytes, or TCP's: lists that are right, lists that break off, any bytes. */
function writeOptions(random: Random, at: number, length: number, kinds: readonly number[]): void {
  canvas.fill(1, at, at + length);
  if (random.chance(4)) {
    random.fill(canvas.subarray(at, at + length));
    return;
  }
  let here = at;
  while (here + 2 <= at + length && random.below(5) > 0) {
    const bytes = random.chance(8) ? random.below(256) : 2 + random.below(14);
    if (!random.chance(10) && here + bytes > at + length) break;
    canvas[here] = random.pick(kinds);
    canvas[here + 1] = bytes;
    here += Math.max(2, bytes);
  }
  if (random.chance(5)) canvas[at + random.below(length)] = 0;
}

function writeNetwork4(random: Random, sketch: Sketch): void {
  const options = random.chance(4) ? 4 * (1 + random.below(10)) : 0;
  sketch.transportAt = PACKET_AT + 20 + options;
  canvas[PACKET_AT] = 0x45 + options / 4;
  canvas[PACKET_AT + 1] = random.next();
  view.setUint16(PACKET_AT + 4, random.chance(4) ? 0 : random.next());
  view.setUint16(PACKET_AT + 6, random.chance(2) ? 0x4000 : 0);
  if (random.chance(12)) view.setUint16(PACKET_AT + 6, random.pick([0x2000, 0x6000, 0x8000, 1, 0x1fff, 0x3fff, random.next()]));
  canvas[PACKET_AT + 8] = random.chance(30) ? random.below(3) : 1 + random.below(255);
  canvas[PACKET_AT + 9] = sketch.protocol;
  writeAddresses(random, 4, PACKET_AT + 12, PACKET_AT + 16);
  if (options > 0) writeOptions(random, PACKET_AT + 20, options, [7, 68, 131, 134, 137, 148]);
}

/** A chain of extension headers whose lengths lead to the transport header, unless one of them is bent. */
function writeChain(random: Random, sketch: Sketch): void {
  const headers = random.chance(12) ? 1 + random.below(11) : 1 + random.below(4);
  let at = PACKET_AT + 40;
  let nextAt = PACKET_AT + 6;
  for (let k = 0; k < headers; k++) {
    const plain = [0, 43, 60];
    const kind = random.chance(3) ? random.pick(EXTENSIONS) : k === 0 ? random.pick(plain) : random.pick([43, 60]);
    canvas[nextAt] = kind;
    const units = kind === 44 ? 0 : random.chance(60) ? random.below(256) : random.below(3);
    const length = kind === 44 ? 8 : kind === 51 ? (units + 2) * 4 : (units + 1) * 8;
    canvas.set(POOL.subarray(units, units + length), at);
    canvas[at + 1] = units;
    // An atomic fragment, one fragment in four: RFC 6946.
    if (kind === 44) view.setUint16(at + 2, random.chance(4) ? 0 : random.pick([1, 8, 9, 0xfff8, random.next()]));
    nextAt = at;
    at += length;
  }
  canvas[nextAt] = sketch.protocol;
  sketch.transportAt = at;
}

function writeNetwork6(random: Random, sketch: Sketch): void {
  view.setUint32(PACKET_AT, 0x60000000 + random.below(0x10000000));
  canvas[PACKET_AT + 6] = sketch.protocol;
  canvas[PACKET_AT + 7] = random.chance(30) ? random.below(3) : 1 + random.below(255);
  writeAddresses(random, 6, PACKET_AT + 8, PACKET_AT + 24);
  sketch.transportAt = PACKET_AT + 40;
  if (random.chance(3)) writeChain(random, sketch);
}

function writeTransport(random: Random, sketch: Sketch, ports: readonly number[]): void {
  const at = sketch.transportAt;
  if (sketch.protocol === TCP) {
    const options = random.chance(2) ? 0 : 4 * (1 + random.below(10));
    view.setUint32(at + 4, random.chance(6) ? 0xffffffff - random.below(70_000) : random.next());
    view.setUint32(at + 8, random.next());
    canvas[at + 12] = ((20 + options) / 4) << 4;
    if (random.chance(8)) canvas[at + 12] |= random.below(16);
    canvas[at + 13] = random.chance(6) ? random.next() : random.pick(TCP_FLAGS);
    view.setUint32(at + 14, random.next());
    // The urgent pointer says nothing without its flag.
    view.setUint16(at + 18, random.chance(4) ? random.next() : 0);
    if (options > 0)
      writeOptions(random, at + 20, options, [2, 3, 4, 5, 8, 8, 8, 5, 30, random.chance(3) ? 19 : 8, random.chance(3) ? 29 : 8]);
    sketch.payloadAt = at + 20 + options;
  } else if (sketch.protocol === UDP) sketch.payloadAt = at + 8;
  else {
    // Echo requests first of all; else anything that ICMP can be.
    canvas[at] = random.chance(4) ? random.next() : sketch.family === 4 ? 8 : random.pick([128, 135]);
    canvas[at + 1] = random.chance(8) ? random.next() : 0;
    view.setUint32(at + 4, 0);
    if (canvas[at] === 135) canvas.set(VIP6, at + 8);
    sketch.payloadAt = at + (canvas[at] === 135 ? 24 : 8);
    return;
  }
  view.setUint16(at, random.next());
  view.setUint16(at + 2, random.chance(40) ? random.next() : random.pick(ports));
}

const checksumAt = (sketch: Sketch) => sketch.transportAt + (sketch.protocol === TCP ? 16 : sketch.protocol === UDP ? 6 : 2);

/** Places where a packet that ends early is told from a whole one: around the end of each header and of each field that is read first. */
function earlyEnd(random: Random, { transportAt, payloadAt, end }: Sketch): number {
  const first = random.pick([
    PACKET_AT,
    PACKET_AT + 20,
    PACKET_AT + 40,
    PACKET_AT + 48,
    transportAt,
    transportAt + 8,
    transportAt + 20,
    payloadAt,
  ]);
  return Math.max(PACKET_AT, Math.min(end, first + random.below(9) - 6));
}

function fillLengths(random: Random, sketch: Sketch): void {
  const { family, protocol, transportAt, end } = sketch;
  if (family === 4) view.setUint16(PACKET_AT + 2, end - PACKET_AT);
  else view.setUint16(PACKET_AT + 4, end - PACKET_AT - 40);
  if (protocol === UDP) view.setUint16(transportAt + 4, end - transportAt);
  // A length that is another than there is: the fields that everything else hangs on.
  if (random.chance(20)) {
    const at = random.pick(family === 4 ? [PACKET_AT + 2, PACKET_AT] : [PACKET_AT + 4, PACKET_AT + 4]);
    if (at === PACKET_AT) canvas[at] ^= 1 + random.below(15);
    else view.setUint16(at, random.chance(2) ? random.next() : view.getUint16(at) + random.below(64) - 32);
  }
  if (protocol === UDP && random.chance(12)) view.setUint16(transportAt + 4, random.chance(2) ? random.below(16) : random.next());
}

/** The transport checksum: finished, partial, absent or wrong. */
function fillChecksums(random: Random, sketch: Sketch, partial: boolean): void {
  const { family, protocol, transportAt, end } = sketch;
  const at = checksumAt(sketch);
  const [from, half] = family === 4 ? [PACKET_AT + 12, 4] : [PACKET_AT + 8, 16];
  const pseudo = naivePseudoSum(
    canvas.subarray(from, from + half),
    canvas.subarray(from + half, from + 2 * half),
    protocol,
    end - transportAt,
  );
  view.setUint16(at, 0);
  const sum = family === 4 && protocol === 1 ? 0 : pseudo;
  if (partial) view.setUint16(at, pseudo);
  else {
    const value = naiveChecksum(canvas, transportAt, end - transportAt, sum);
    view.setUint16(at, protocol === UDP && value === 0 ? 0xffff : value);
    if (protocol === UDP && random.chance(8)) view.setUint16(at, 0);
  }
  if (random.chance(20)) view.setUint16(at, random.next());
  if (family === 4 && !random.chance(50)) {
    const header = (canvas[PACKET_AT] & 15) * 4;
    view.setUint16(PACKET_AT + 10, 0);
    view.setUint16(PACKET_AT + 10, 0xffff - naiveSum(canvas, PACKET_AT, header, 0));
  }
}

function gsoTypeOf({ family, protocol }: Sketch): number {
  return protocol === UDP ? 5 : family === 4 ? 1 : 4;
}

/** Facts that describe the packet, a super-packet or a single one with a partial checksum. Offsets count from the packet here. */
function rightFacts(random: Random, sketch: Sketch, isSuper: boolean, partial: boolean): Required<FrameFacts> {
  const payload = sketch.end - sketch.payloadAt;
  const small = sketch.protocol === UDP ? Math.ceil(payload / 128) : 88;
  const size = random.chance(3)
    ? random.pick(SEGMENT_SIZES)
    : Math.max(1, random.chance(12) ? random.below(100) : small + random.below(2000));
  return {
    virtioFlags: (partial ? 1 : 0) | (random.chance(8) ? 2 : 0),
    gsoType: isSuper ? gsoTypeOf(sketch) | (random.chance(8) ? 0x80 : 0) : 0,
    gsoSize: isSuper ? Math.min(65_535, size) : 0,
    headerLength: isSuper ? sketch.payloadAt - PACKET_AT : 0,
    csumStart: partial ? sketch.transportAt - PACKET_AT : 0,
    csumOffset: partial ? checksumAt(sketch) - sketch.transportAt : 0,
  };
}

const LIES: readonly ((random: Random, facts: Required<FrameFacts>) => Partial<FrameFacts>)[] = [
  (random) => ({ gsoType: random.below(256) }),
  (random) => ({ gsoType: random.pick([1, 3, 4, 5, 6, 0x20, 0x40, 0x41, 0x64, 0x80]) }),
  (random) => ({ gsoSize: random.pick([0, 1, 2, 7, 63, 64, 65_534, 65_535, random.below(65_536)]) }),
  (random, { csumStart }) => ({
    csumStart: random.chance(2) ? random.below(65_536) : (csumStart + random.below(9) - 4) & 0xffff,
  }),
  (random) => ({ csumOffset: random.pick([0, 2, 4, 6, 14, 16, 18, 65_534, 65_535, random.below(65_536)]) }),
  (random) => ({ headerLength: random.pick([0, 1, 65_535, random.below(65_536)]) }),
  (random) => ({ virtioFlags: random.below(256) }),
];

export const NO_FACTS: Required<FrameFacts> = {
  virtioFlags: 0,
  gsoType: 0,
  gsoSize: 0,
  headerLength: 0,
  csumStart: 0,
  csumOffset: 0,
};

/** Ethernet and VLAN tags in front of the packet. Returns where the frame begins. */
function writeLink(random: Random, family: 4 | 6, facts: IngressFacts): number {
  const tags = random.chance(5) ? 1 + random.below(3) : 0;
  const at = PACKET_AT - 14 - tags * 4;
  random.fill(canvas.subarray(at, at + 12));
  canvas[at] &= 0xfe;
  const own = facts.linkAddress;
  if (own !== undefined && !random.chance(20)) {
    view.setInt32(at, own.high);
    view.setUint16(at + 4, own.low);
  }
  if (random.chance(50)) canvas.fill(0xff, at, at + 6);
  if (random.chance(50)) canvas[at + 6] |= 1;
  for (let tag = 0; tag < tags; tag++) view.setUint16(at + 12 + tag * 4, tag === 0 && random.chance(2) ? 0x88a8 : 0x8100);
  view.setUint16(
    PACKET_AT - 2,
    random.chance(80) ? random.pick([0x0800, 0x86dd, 0x0806, 0xffff]) : family === 4 ? 0x0800 : 0x86dd,
  );
  return at;
}

/** An ARP packet where the IP packet would lie: a request for a service address, more often than not. Returns its end. */
function writeArp(random: Random): number {
  canvas.set([0, 1, 8, 0, 6, 4, 0, random.chance(6) ? random.below(4) : 1], PACKET_AT);
  random.fill(canvas.subarray(PACKET_AT + 8, PACKET_AT + 28));
  canvas[PACKET_AT + 8] &= random.chance(8) ? 0xff : 0xfe;
  canvas.set(VIP4, PACKET_AT + 24);
  if (random.chance(4)) canvas[PACKET_AT + random.below(8)] ^= 1 << random.below(8);
  if (random.chance(8)) canvas[PACKET_AT + 27] ^= 1;
  view.setUint16(PACKET_AT - 2, 0x0806);
  return PACKET_AT + 28 - (random.chance(4) ? random.below(28) : 0);
}

/** One case for an ingress with these facts, to services on `ports`. The frame is a view that the next call overwrites. */
export function draftCase(random: Random, ingress: IngressFacts, ports: readonly number[]): Case {
  const isEthernet = ingress.link === LINK_ETHERNET;
  const family = random.pick([4, 6] as const);
  const icmp = family === 4 ? 1 : 58;
  const protocol = random.chance(20) ? icmp : random.chance(80) ? random.below(256) : random.below(3) === 0 ? UDP : TCP;
  const sketch: Sketch = { family, protocol, transportAt: 0, payloadAt: 0, end: 0 };
  if (family === 4) writeNetwork4(random, sketch);
  else writeNetwork6(random, sketch);
  writeTransport(random, sketch, ports);
  const most = PACKET_AT + (family === 4 ? 65_535 : 65_575);
  const payload = Math.max(0, Math.min(payloadLength(random), most - sketch.payloadAt));
  sketch.end = sketch.payloadAt + payload;
  const from = random.below(POOL.length - payload);
  canvas.set(POOL.subarray(from, from + payload), sketch.payloadAt);
  // It ends early, and says so: what is missing is missing behind a length that is right.
  const isShort = random.chance(protocol === icmp ? 3 : 10);
  const steered = protocol === TCP || protocol === UDP;
  const isSuper = steered && random.below(5) < 2;
  const partial = isSuper ? protocol === UDP || !random.chance(5) : random.chance(8);
  fillLengths(random, sketch);
  fillChecksums(random, sketch, partial);
  let facts = isSuper || partial ? rightFacts(random, sketch, isSuper, partial) : NO_FACTS;
  for (let lies = random.chance(5) ? 1 + random.below(2) : 0; lies > 0; lies--)
    facts = { ...facts, ...random.pick(LIES)(random, facts) };
  let end = sketch.end;
  if (isShort) {
    end = earlyEnd(random, sketch);
    if (family === 4) {
      view.setUint16(PACKET_AT + 2, end - PACKET_AT);
      repairHeader(canvas.subarray(PACKET_AT, end));
    } else view.setUint16(PACKET_AT + 4, Math.max(0, end - PACKET_AT - 40));
    if (protocol === UDP && random.chance(2)) view.setUint16(sketch.transportAt + 4, Math.max(8, end - sketch.transportAt));
  } else if (random.chance(10)) bend(random, canvas.subarray(PACKET_AT, Math.min(end, PACKET_AT + 160)));
  let start = PACKET_AT;
  if (isEthernet) {
    start = writeLink(random, family, ingress);
    if (random.chance(40)) end = writeArp(random);
    else if (random.chance(10)) bend(random, canvas.subarray(start, PACKET_AT + 24));
    if (facts.csumStart !== 0) facts = { ...facts, csumStart: (facts.csumStart + PACKET_AT - start) & 0xffff };
  }
  if (random.chance(12)) {
    const padding = random.below(40);
    canvas.set(POOL.subarray(padding, 2 * padding), end);
    end += padding;
  }
  if (random.chance(25)) end = start + random.below(end - start + 1);
  // The kernel routes only IPv4 packets whose header checksum is right: where it vouches for the header, a wrong one is no possible input.
  if (ingress.headerVerified) repairHeader(canvas.subarray(start, end));
  return { frame: canvas.subarray(start, end), facts };
}
