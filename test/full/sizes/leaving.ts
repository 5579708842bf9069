// The inner packets that a forwarded packet must leave as: whole, in the segments it was merged of, in smaller ones, or in fragments. Which of
// these a policy allows is written down from docs/oversize.md.

import type { FrameFacts } from '../../../src/io/memory/ingress.ts';
import type { MssClamp, Oversize } from '../../../src/pipeline/spec.ts';
import { fragmentSlowly } from '../../reference/fragment4.ts';
import { segmentSlowly } from '../../reference/segment.ts';
import { clamped, completed, headersOf, hopped, isSafeToCut, setWord, TCP, transportOf, word } from './anatomy.ts';

/** Of a service. */
export interface Rules {
  readonly policy: Oversize;
  readonly mssClamp: MssClamp;
}

export interface Leaving {
  readonly packet: Uint8Array;
  readonly facts: Required<FrameFacts>;
  readonly pathMtu: number;
  /** Bytes of the outer headers. */
  readonly overhead: number;
  readonly hopDone: boolean;
  serviceOf(port: number): Rules | undefined;
}

/** The observed way out. */
export interface Way {
  readonly train: boolean;
  readonly fragmentsOuter: boolean;
}

/** Bytes of the longest inner packet: what the path carries, and what a datagram can. IPv6 does not count its own header. */
export function innerMtuOf(pathMtu: number, overhead: number): number {
  const longest = 65_535 - overhead + (overhead === 52 ? 40 : 0);
  return pathMtu === 0 ? longest : Math.min(longest, pathMtu - overhead);
}

/** What a SYN may announce: 0 for anything. */
export function mostSegment(rule: MssClamp, packet: Uint8Array, pathMtu: number, overhead: number): number {
  if (rule === 'off') return 0;
  if (rule !== 'auto') return rule;
  return pathMtu === 0 ? 0 : Math.max(0, pathMtu - overhead - (packet[0] >> 4 === 4 ? 40 : 60));
}

/** Equal apart from the two forms of zero in checksums that need no one form: IPv4's own, and that of a SYN that was clamped. */
function samePacket(inner: Uint8Array, wanted: Uint8Array, isClamped: boolean): boolean {
  if (inner.length !== wanted.length) return false;
  const fields = inner[0] >> 4 === 4 ? [10] : [];
  if (isClamped) fields.push(transportOf(wanted).at + 16);
  for (const at of fields) if (word(inner, at) % 0xffff === word(wanted, at) % 0xffff) setWord(wanted, at, word(inner, at));
  return Buffer.compare(inner, wanted) === 0;
}

const isFragment = (packet: Uint8Array) => packet[0] >> 4 === 4 && (word(packet, 6) & 0x3fff) !== 0;

/** Which of the ways a policy allows for a packet that is too big. */
function allowed(policy: Oversize, canCut: boolean, mayFragment: boolean): readonly ('cut' | 'inner' | 'outer')[] {
  const cut = canCut ? (['cut'] as const) : [];
  const inner = mayFragment ? (['inner'] as const) : [];
  switch (policy) {
    case 'segment':
    case 'segment-and-tell':
      return [...cut, ...inner];
    case 'icmp':
      return inner;
    case 'fragment-inner':
      return mayFragment ? inner : cut;
    case 'fragment-outer':
      return mayFragment ? ['outer', ...inner] : [...cut, 'outer'];
    default:
      return [];
  }
}

/** What is wrong with the inner packets that left, null when nothing is. */
export function leavingComplaint(leaving: Leaving, inners: readonly Uint8Array[], way: Way): string | null {
  const { packet, facts, pathMtu, overhead, hopDone } = leaving;
  const { policy, mssClamp } = leaving.serviceOf(word(packet, transportOf(packet).at + 2)) ?? { policy: 'drop', mssClamp: 'off' };
  const isSuper = facts.gsoType !== 0;
  const partial = (facts.virtioFlags & 1) !== 0;
  const innerMtu = innerMtuOf(pathMtu, overhead);
  const single = !isSuper && partial ? completed(packet) : packet;
  const lowered = clamped(single, mostSegment(mssClamp, packet, pathMtu, overhead), isSuper && partial);
  const whole = hopped(lowered, hopDone);
  const headers = headersOf(whole);
  const payload = whole.length - headers;
  const fits = Math.min(isSuper ? headers + facts.gsoSize : whole.length, whole.length) <= innerMtu;
  // What needs no cut keeps the finished checksum that it came with.
  const merged = isSuper && (payload > facts.gsoSize || partial) ? segmentSlowly(whole, facts.gsoSize) : [whole];
  let wanted: Uint8Array[] = merged;
  if (!fits) {
    const canCut = transportOf(whole).protocol === TCP && innerMtu > headers && isSafeToCut(packet);
    const mayFragment = whole[0] >> 4 === 4 && (whole[6] & 0x40) === 0;
    const taken = way.fragmentsOuter ? 'outer' : inners.some(isFragment) ? 'inner' : 'cut';
    if (!allowed(policy, canCut, mayFragment).includes(taken)) return `left by way ${taken}, which ${policy} does not allow`;
    if (taken === 'inner') wanted = fragmentsOf(merged, innerMtu, inners);
    else if (taken === 'cut') wanted = segmentSlowly(whole, Math.ceil(payload / Math.ceil(payload / (innerMtu - headers))));
  } else if (way.fragmentsOuter) return 'fragmented, and it fits';
  if (way.train !== (wanted.length > 1 || isSuper || way.fragmentsOuter)) return way.train ? 'cut, and it fits' : 'not cut';
  if (inners.length !== wanted.length) return `${inners.length} packets leave, not ${wanted.length}`;
  const differs = wanted.findIndex((one, k) => !samePacket(inners[k], one, lowered !== single));
  return differs < 0 ? null : `part ${differs} differs from the twin's`;
}

/** The fragments of each packet. The identification that a packet without one was given is read off its first fragment. */
function fragmentsOf(packets: readonly Uint8Array[], innerMtu: number, inners: readonly Uint8Array[]): Uint8Array[] {
  const wanted: Uint8Array[] = [];
  for (const packet of packets) {
    const seen = inners[wanted.length];
    wanted.push(...fragmentSlowly(packet, innerMtu, seen === undefined ? 0 : word(seen, 4)));
  }
  return wanted;
}
