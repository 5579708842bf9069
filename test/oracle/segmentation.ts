// Generated super-packets, segmented by us and by the host's kernel: every segment the same, byte for byte. Nothing is normalised: ours get
// the TTL that the kernel's forwarding leaves them, so that even the IPv4 header checksum must be equal.
//
// Each case is right, or lies in one of its facts. What the kernel refuses must be refused here; where only we refuse, `mayBeStricter` says
// why, and docs/segmentation.md too.

import { randomShape, type Shape, superPacket } from '../builder/super-packet.ts';
import type { Line, Outcome, Scale } from '../full/line.ts';
import { Random } from '../full/random.ts';
import { transportOf } from '../reference/segment.ts';
import { EVERY_OFFLOAD, type Facts, KernelSegmenter, type Verdict } from './kernel.ts';
import { offloadCases } from './offload.ts';
import { difference, OurSegmenter, type Outcome as Ours } from './ours.ts';
import { tunnelCases } from './tunnel.ts';

const SEED = 20260411;
const CASES: Readonly<Record<Scale, number>> = { full: 40_000, scaled: 2_000 };
const TUNNEL_CASES: Readonly<Record<Scale, number>> = { full: 10_000, scaled: 400 };
const OFFLOAD_CASES: Readonly<Record<Scale, number>> = { full: 10_000, scaled: 400 };

/**
 * Whether we may refuse, for `word`, what the kernel takes. Each case is one in which it would send what nobody should: wrong checksums, a
 * packet damaged on its way made whole, fragments, a thousand tiny segments; or in which it looks less closely at a packet that it
 * does not cut.
 */
function mayBeStricter(word: string, told: Facts, packet: Uint8Array): boolean {
  const { at, protocol } = transportOf(packet);
  const isTcp = protocol === 6;
  const start = (told.flags & 1) !== 0 ? told.csumStart : packet[0] >> 4 === 4 ? 20 : 40;
  const isUncut = packet.length - start - (isTcp ? 20 : 8) <= told.gsoSize;
  switch (word) {
    case 'count':
      return isTcp;
    case 'checksum':
      return isTcp && (told.flags & 1) === 0;
    case 'length': {
      // The kernel compares the header length with the frame and two bytes of the virtio-net header.
      const isHeaderLength = told.headerLength > packet.length && told.headerLength <= packet.length + 2;
      return isUncut || isHeaderLength || (!isTcp && word16(packet, at + 4) !== packet.length - at);
    }
    case 'place':
      return isUncut;
    case 'type':
      return isUncut || (told.gsoType === 3 && !isTcp);
    default:
      return false;
  }
}

function word16(bytes: Uint8Array, at: number): number {
  return bytes[at] * 256 + bytes[at + 1];
}

/** What a right sender says of `packet`. */
export function factsOf(packet: Uint8Array, shape: Shape): Facts {
  const { at, protocol } = transportOf(packet);
  const headers = at + (protocol === 6 ? (packet[at + 12] >> 4) * 4 : 8);
  const type = protocol === 17 ? 5 : shape.family === 4 ? 1 : 4;
  return {
    flags: shape.finished ? 0 : 1,
    gsoType: protocol === 6 && (shape.flags & 0x80) !== 0 ? type | 0x80 : type,
    headerLength: headers,
    gsoSize: shape.segmentSize,
    csumStart: shape.finished ? 0 : at,
    csumOffset: shape.finished ? 0 : protocol === 6 ? 16 : 6,
  };
}

/** One lie about a packet, or in it. */
function lie(random: Random, facts: Facts, packet: Uint8Array): Facts {
  const { at, protocol } = transportOf(packet);
  switch (random.below(11)) {
    case 0:
      return { ...facts, gsoSize: random.pick([0, 65535, 60_000]) };
    case 1:
      return { ...facts, gsoSize: 1 + random.below(88) };
    case 2:
      return { ...facts, gsoType: random.pick([1, 2, 3, 4, 5, 0x21, 0x41, 0x82, 0x85, 255]) };
    case 3:
      return { ...facts, csumStart: random.pick([0, at - 4, at + 4, packet.length, 65535]) };
    case 4:
      return { ...facts, csumOffset: random.pick([0, 6, 16, 18, 65535]) };
    case 5:
      return { ...facts, headerLength: random.pick([0, packet.length, packet.length + 1, 65535]) };
    case 6:
      return { ...facts, flags: facts.flags ^ 1 };
    case 7:
      // Data offset: the header ends early, or takes bytes of the payload.
      if (protocol === 6) packet[at + 12] = (random.below(16) << 4) | (packet[at + 12] & 15);
      return facts;
    case 8:
      if (protocol === 17) packet.set([random.below(256), random.below(256)], at + 4);
      return facts;
    case 9:
      // The IP header claims more than there is.
      packet[packet[0] >> 4 === 4 ? 2 : 4] = 0xff;
      return facts;
    default:
      // Shorter than a segment, with options or without.
      // Not so large that one segment would exceed every MTU.
      return { ...facts, gsoSize: Math.max(1, Math.min(60_000, packet.length - at - random.below(70))) };
  }
}

class Tally {
  segments = 0;
  readonly right = new Map<string, number>();
  readonly both = new Map<string, number>();
  readonly onlyOurs = new Map<string, number>();
}

function count(map: Map<string, number>, word: string): void {
  map.set(word, (map.get(word) ?? 0) + 1);
}

function text(map: ReadonlyMap<string, number>): string {
  return [...map].map(([word, number]) => `${word} ${number}`).join(', ') || 'none';
}

/** Null when ours and the kernel's agree, otherwise how they do not. */
function compare(mine: Ours, theirs: Verdict, isLie: boolean, stricter: (word: string) => boolean, tally: Tally): string | null {
  const { refused } = mine;
  if (refused === null) {
    if (theirs.segments.length === 0)
      return `made ${mine.segments.length} segments, the kernel refused (${theirs.refused ?? 'silently'})`;
    tally.segments += mine.segments.length;
    return difference(mine.segments, theirs.segments);
  }
  // A payload that fits one segment, though headers and payload do not: the one right description that is refused.
  if (!isLie && refused !== 'short') return `a right packet was refused for "${refused}"`;
  if (theirs.segments.length === 0) count(tally.both, refused);
  else if (stricter(refused)) count(tally.onlyOurs, refused);
  else return `refused for "${refused}", the kernel made ${theirs.segments.length} segments`;
  return null;
}

async function run(scale: Scale): Promise<Outcome> {
  const random = new Random(SEED);
  const kernel = new KernelSegmenter('tun', EVERY_OFFLOAD, 12);
  const ours = new OurSegmenter();
  const tally = new Tally();
  const wrong: string[] = [];
  let lies = 0;
  let cases = 0;
  try {
    for (; cases < CASES[scale] && wrong.length < 4; cases++) {
      const family = cases % 2 === 0 ? 4 : 6;
      const protocol = cases % 4 < 2 ? 6 : 17;
      const shape = randomShape(random, family, protocol);
      const packet = superPacket(shape);
      const facts = factsOf(packet, shape);
      const isLie = random.chance(5);
      const told = isLie ? lie(random, facts, packet) : facts;
      if (isLie) lies++;
      else count(tally.right, `${protocol === 6 ? 'TCP' : 'UDP'}${family}`);
      const stricter = (word: string) => mayBeStricter(word, told, packet);
      const said = compare(ours.segment(told, packet), kernel.segment(told, packet), isLie, stricter, tally);
      if (said !== null) wrong.push(`case ${cases} ${JSON.stringify({ shape, told })}: ${said}`);
    }
  } finally {
    kernel.close();
  }
  const tunnel = tunnelCases(TUNNEL_CASES[scale], new Random(SEED + 1));
  wrong.push(...tunnel.wrong);
  const offload = offloadCases(OFFLOAD_CASES[scale], new Random(SEED + 2));
  wrong.push(...offload.wrong);
  return {
    passed: wrong.length === 0,
    figures: {
      seed: SEED,
      'super-packets': cases,
      'right ones': text(tally.right),
      lies,
      'segments compared': tally.segments,
      'refused by both': text(tally.both),
      'refused by us alone': text(tally.onlyOurs),
      ...tunnel.figures,
      ...offload.figures,
      differences: wrong.join(' | ') || 'none',
    },
  };
}

export const segmentation: Line = {
  name: 'segmentation',
  claim:
    'Segmented by us and by the host’s kernel, 40,000 generated super-packets and 10,000 encapsulated ones come out the same, byte for byte, and so do 10,000 that the packet path hands to the kernel whole; what the kernel refuses is refused here.',
  twin: 'test/oracle/segmentation.test.ts',
  run,
};
