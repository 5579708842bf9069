/**
 * A packet filter's rules, followed as a tunnel packet would: what is known of it is its IP version, its protocol and its port, not who sends it. So a rule matches it, does not, or may;
 * and where what may happen decides, the answer is that it is not clear.
 */

/** `yes`: every tunnel packet; `some`: those of some senders, interfaces or addresses, as an operator writes who lets only directors in; `maybe`: who knows; `no`: none. */
export type Fit = 'yes' | 'some' | 'maybe' | 'no';

const ORDER: readonly Fit[] = ['yes', 'some', 'maybe', 'no'];

/** Of conditions that must all hold. */
export function allOf(fits: readonly Fit[]): Fit {
  return fits.reduce((worst, fit) => (ORDER.indexOf(fit) > ORDER.indexOf(worst) ? fit : worst), 'yes');
}

export type Verdict =
  | { readonly kind: 'accept' }
  | { readonly kind: 'drop' }
  | { readonly kind: 'return' }
  | { readonly kind: 'none' }
  /** Another program, or an extension that is not known here, decides. */
  | { readonly kind: 'opaque' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  /** The first entry that fits decides. */
  | { readonly kind: 'map'; readonly entries: readonly { readonly fit: Fit; readonly verdict: Verdict }[] };

export interface Rule {
  readonly fit: Fit;
  readonly verdict: Verdict;
  /** A condition of the rule names the tunnel's port, or its protocol where it has no port. */
  readonly ours: boolean;
  /** For people: where it stands. */
  readonly place: string;
  /** The command that removes it; null when it is about more than the tunnel, so that removing it would let others in. */
  readonly removal: string | null;
}

/** Rules of each chain of a table, in order. */
export type Chains = ReadonlyMap<string, readonly Rule[]>;

export interface Outcome {
  /** `through`: nothing decided, the policy of the base chain does. */
  readonly verdict: 'accept' | 'drop' | 'through';
  /** Who drops. */
  readonly rule: Rule | null;
  /** A rule lets packets of some senders in. */
  readonly some: boolean;
  /** What can not be told may let them in, or may drop them. */
  readonly mayAccept: boolean;
  readonly mayDrop: boolean;
}

/** The kernel takes no deeper ruleset (NFT_JUMP_STACK_SIZE). */
const DEEPEST = 16;

/** Follows a chain. Chains that are not there, and loops, are not clear. */
export function walk(chains: Chains, name: string, depth = 0): Outcome {
  const rules = chains.get(name);
  const seen = { some: false, mayAccept: false, mayDrop: false };
  /** Notes what may happen to packets that the rule may not match. */
  const mayLetIn = (fit: Fit) => {
    if (fit === 'some') seen.some = true;
    else seen.mayAccept = true;
  };
  /** Packets that may have left the chain before its end, for where it was called from or for the policy. */
  let leaving: Fit | null = null;
  const end = (verdict: Outcome['verdict'], rule: Rule | null = null): Outcome => {
    if (leaving === null || verdict === 'through') return { verdict, rule, ...seen };
    if (verdict === 'accept' || depth === 0) mayLetIn(leaving);
    if (verdict === 'drop' && depth === 0) return { verdict, rule, ...seen };
    return { verdict: 'through', rule: null, ...seen, mayDrop: seen.mayDrop || verdict === 'drop' };
  };
  if (rules === undefined || depth > DEEPEST) {
    seen.mayAccept = true;
    seen.mayDrop = true;
    return end('through');
  }
  /** The end of the way, or null: go on with the next rule. */
  const apply = (rule: Rule, verdict: Verdict, fit: Fit): Outcome | null => {
    if (fit === 'no' || verdict.kind === 'none') return null;
    const surely = fit === 'yes';
    switch (verdict.kind) {
      case 'accept':
        if (surely) return end('accept');
        mayLetIn(fit);
        return null;
      case 'drop':
        // A drop of some, of what is too fast, invalid or listed, is its operator's will.
        return surely ? end('drop', rule) : null;
      case 'return':
        if (surely) return end('through');
        leaving ??= fit;
        return null;
      case 'opaque':
        seen.mayAccept = true;
        if (surely) seen.mayDrop = true;
        return null;
      case 'map':
        for (const { fit: entryFit, verdict: inner } of verdict.entries) {
          const both = allOf([fit, entryFit]);
          // A drop of a map is one of its outcomes, and which it is is not known.
          if (both !== 'yes' && both !== 'no' && inner.kind === 'drop') seen.mayDrop = true;
          const ended = apply(rule, inner, both);
          if (ended !== null) return ended;
          if (both === 'yes') break;
        }
        return null;
    }
    const inner = walk(chains, verdict.chain, depth + 1);
    seen.some ||= inner.some;
    seen.mayAccept ||= inner.mayAccept;
    seen.mayDrop ||= inner.mayDrop;
    if (surely) {
      if (inner.verdict !== 'through') return end(inner.verdict, inner.rule);
      return verdict.kind === 'goto' ? end('through') : null;
    }
    if (inner.verdict === 'drop') seen.mayDrop = true;
    else if (inner.verdict === 'accept') mayLetIn(fit);
    else if (verdict.kind === 'goto') leaving ??= fit;
    return null;
  };

  for (const rule of rules) {
    const ended = apply(rule, rule.verdict, rule.fit);
    if (ended !== null) return ended;
  }
  return end('through');
}
