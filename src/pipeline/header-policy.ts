/**
 * What a pool says about its outer IP headers (docs/headers.md), as one word of the backend's record and the arithmetic on it. 0 is the
 * default, whose headers lie ready in the template; with anything else they are worked out for each packet.
 *
 *     31      20   19    18    16  15          8    7     6    5    4    3    2    1    0
 *     |   0   | spread | port rule | DSCP × 4   | label id=0 |   DF    |   ECN   | dscp ttl |
 *
 * A TTL that is fixed is not in it: it stands in the template.
 */
import { type HeaderSpec, SOURCE_PORT_RULES } from './spec.ts';

/** The outer TTL is the inner one's, after its one decrement. */
export const TTL_COPY = 0x1;
/** DSCP is the policy's, not the inner packet's. */
export const DSCP_SET = 0x2;
/** RFC 6040 §4.1, compatibility mode: the outer packet can not be marked, because nobody will look at the mark. */
export const ECN_ZERO = 0x4;
/** RFC 3168 §9.1.1, full functionality (Linux: INET_ECN_encapsulate): CE inside is ECT(0) outside. */
export const ECN_RFC3168 = 0x8;
/** Outer DF is inner DF; IPv6 inside, which has none, gives none. */
export const DF_COPY = 0x10;
export const DF_CLEAR = 0x20;
/** What has no DF has identification 0 all the same, as with Katran. */
export const ID_ZERO = 0x40;
/** The IPv6 flow label is the flow's (RFC 6438). */
export const FLOW_LABEL = 0x80;
/** The source address is spread over a prefix: B_SPREAD of the record says how far. */
export const SPREAD = 0x80000;

const VALUE_SHIFT = 8;
const RULE_SHIFT = 16;
const RULE_MASK = 7;
const DSCP_BITS = 0xfc;
const ECN_BITS = 3;
const ECT0 = 2;
const CE = 3;
const LABEL_BITS = 0xfffff;
/** The flags word of the IPv4 header. */
const DF = 0x4000;

const ECN = { copy: 0, zero: ECN_ZERO, rfc3168: ECN_RFC3168 } as const;
const DONT_FRAGMENT = { set: 0, copy: DF_COPY, clear: DF_CLEAR } as const;

/** What the word depends on beside the policy itself. */
export interface OuterShape {
  readonly family: 4 | 6;
  /** The tunnel has a UDP header, whose source port tells flows apart. */
  readonly hasPorts: boolean;
  /** Bits of the source address that the flow fills in. */
  readonly spread: number;
}

/** The policy's word for packets of this shape: 0 when nothing is to be worked out per packet. */
export function policyWord(headers: HeaderSpec, { family, hasPorts, spread }: OuterShape): number {
  let word = ECN[headers.ecn];
  if (headers.ttl === 'copy') word |= TTL_COPY;
  if (headers.dscp !== 'copy') word |= DSCP_SET | (headers.dscp << (VALUE_SHIFT + 2));
  if (family === 4) {
    word |= DONT_FRAGMENT[headers.df];
    if (headers.df !== 'set' && headers.identification === 'zero') word |= ID_ZERO;
  } else if (headers.flowLabel === 'hash' || (headers.flowLabel === 'auto' && !hasPorts)) {
    word |= FLOW_LABEL;
  }
  if (spread > 0) word |= SPREAD;
  // Katran's rule says what is spread, too: it matters without ports as well.
  if (hasPorts || spread > 0) word |= SOURCE_PORT_RULES.indexOf(headers.sourcePort) << RULE_SHIFT;
  return word;
}

/** The number of the source-port rule in a policy: its place in SOURCE_PORT_RULES. */
export function ruleOf(policy: number): number {
  return (policy >>> RULE_SHIFT) & RULE_MASK;
}

/** The outer traffic class (DSCP and ECN, 8 bits) of a packet whose own is `inner`. */
export function trafficClassOf(policy: number, inner: number): number {
  const dscp = (policy & DSCP_SET) !== 0 ? policy >>> VALUE_SHIFT : inner;
  const ecn = inner & ECN_BITS;
  if ((policy & (ECN_ZERO | ECN_RFC3168)) === 0) return (dscp & DSCP_BITS) | ecn;
  if ((policy & ECN_ZERO) !== 0) return dscp & DSCP_BITS;
  return (dscp & DSCP_BITS) | (ecn === CE ? ECT0 : ecn);
}

/** The outer TTL or hop limit: `inner` is what the inner packet leaves with, `fixed` what the template has. */
export function hopsOf(policy: number, fixed: number, inner: number): number {
  return (policy & TTL_COPY) !== 0 ? inner : fixed;
}

/** The outer IPv4 header's word of flags and fragment offset. `inner`: the same word of the inner header; 0 for IPv6. */
export function flagsOf(policy: number, inner: number): number {
  if ((policy & (DF_COPY | DF_CLEAR)) === 0) return DF;
  return (policy & DF_CLEAR) !== 0 ? 0 : inner & DF;
}

/** A packet with these outer flags needs an identification of its own (RFC 6864 §4.2): somebody may fragment it. */
export function needsIdentification(policy: number, flags: number): boolean {
  return (flags & DF) === 0 && (policy & ID_ZERO) === 0;
}

/**
 * The IPv6 flow label of a flow, 20 bits, never 0, which means that there is none (RFC 6437 §2). Made of all bits of the hash, and others
 * of them together than the source port, so that who hashes both gains by both.
 */
export function flowLabelOf(flowHash: number): number {
  const mixed = Math.imul(flowHash ^ (flowHash >>> 15), 0x2c1b3c6d);
  const label = (mixed >>> 12) & LABEL_BITS;
  return label === 0 ? 1 : label;
}
