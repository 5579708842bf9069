/**
 * A filter as plain data: what the parser makes, what crosses threads, and what a forwarding thread compiles. Packet terms look at the client's packet as it came; decision
 * terms at what became of it.
 */
import type { VERDICTS } from '../../base/verdict.ts';

export type Side = 'src' | 'dst' | 'either';

export type PacketTerm =
  /** Four bytes each word, big-endian as int32; a word of the address and its mask hold the same bits. One word for IPv4, four for IPv6. */
  | {
      readonly is: 'address';
      readonly side: Side;
      readonly family: 4 | 6;
      readonly words: readonly number[];
      readonly masks: readonly number[];
    }
  | { readonly is: 'family'; readonly family: 4 | 6 }
  /** IANA number; `family` 0 for both. */
  | { readonly is: 'protocol'; readonly family: 0 | 4 | 6; readonly number: number }
  | { readonly is: 'port'; readonly side: Side; readonly from: number; readonly to: number }
  /** Bytes of the packet without its link header, both ends included. */
  | { readonly is: 'length'; readonly least: number; readonly most: number }
  /** TCP flag byte: `(flags & mask) test value`. */
  | { readonly is: 'flags'; readonly mask: number; readonly test: FlagTest; readonly value: number };

export const FLAG_TESTS = ['==', '!=', '<', '>', '<=', '>='] as const;
export type FlagTest = (typeof FLAG_TESTS)[number];

/** As it stands in a trace: the words of base/verdict.ts, and `held` for a fragment that waits. */
export type VerdictWord = (typeof VERDICTS)[number] | 'held';

export type DecisionTerm =
  | { readonly is: 'verdict'; readonly verdict: VerdictWord }
  /** Dropped, for this reason; null for any. */
  | { readonly is: 'drop'; readonly reason: string | null }
  | { readonly is: 'service'; readonly name: string }
  | { readonly is: 'pool'; readonly name: string }
  /** `pool` null: of whatever pool. */
  | { readonly is: 'backend'; readonly pool: string | null; readonly name: string };

export type Term = PacketTerm | DecisionTerm;

export type Expression =
  | { readonly is: 'all' }
  | { readonly is: 'and'; readonly terms: readonly Expression[] }
  | { readonly is: 'or'; readonly terms: readonly Expression[] }
  | { readonly is: 'not'; readonly term: Expression }
  | Term;

/** Terms that one filter may have: a bound on what a forwarding thread compiles. */
export const MOST_TERMS = 32;
/** Parentheses in each other. */
export const MOST_DEPTH = 64;
/** Characters of a filter. */
export const MOST_CHARACTERS = 4096;

const DECISIONS: readonly string[] = ['verdict', 'drop', 'service', 'pool', 'backend'];

export function isDecision(expression: Expression): expression is DecisionTerm {
  return DECISIONS.includes(expression.is);
}

/** True when no decision stands in it: it can be answered before the packet is processed. */
export function isAboutPacket(expression: Expression): boolean {
  if (expression.is === 'and' || expression.is === 'or') return expression.terms.every(isAboutPacket);
  if (expression.is === 'not') return isAboutPacket(expression.term);
  return !isDecision(expression);
}

/** Every term of it, from left to right. */
export function termsOf(expression: Expression): Term[] {
  if (expression.is === 'all') return [];
  if (expression.is === 'and' || expression.is === 'or') return expression.terms.flatMap(termsOf);
  if (expression.is === 'not') return termsOf(expression.term);
  return [expression];
}
