/**
 * A filter taken apart for a batch: what can be answered before the packets are processed, when they lie as they came, and what is known only afterwards.
 *
 *     filter    host A and (dropped or udp)      parts: 0 = host A, 1 = udp
 *     parted    part 0 and (dropped or part 1)
 *     possible  part 0                            the same with every decision unknown: what can still become true
 */
import { type DecisionTerm, type Expression, isAboutPacket, isDecision } from './expression.ts';

export type Parted =
  | boolean
  /** Sub-expression `number` about the packet alone. */
  | { readonly is: 'part'; readonly number: number }
  | DecisionTerm
  | { readonly is: 'not'; readonly term: DecisionTerm }
  | { readonly is: 'and'; readonly terms: readonly Parted[] }
  | { readonly is: 'or'; readonly terms: readonly Parted[] };

/** `expression` with its largest sub-expressions about packets replaced by their numbers in `parts`, to which they are added. */
export function partedOf(expression: Expression, parts: Expression[]): Parted {
  return taken(pushedDown(expression, false), parts);
}

/** `not` stands before terms only. */
function pushedDown(expression: Expression, negated: boolean): Expression {
  if (expression.is === 'not') return pushedDown(expression.term, !negated);
  if (expression.is === 'and' || expression.is === 'or') {
    const joint = (expression.is === 'and') !== negated ? 'and' : 'or';
    return { is: joint, terms: expression.terms.map((term) => pushedDown(term, negated)) };
  }
  return negated ? { is: 'not', term: expression } : expression;
}

function taken(expression: Expression, parts: Expression[]): Parted {
  if (expression.is === 'all') return true;
  if (expression.is === 'not' && expression.term.is === 'all') return false;
  if (isDecision(expression)) return expression;
  if (expression.is === 'not' && isDecision(expression.term)) return { is: 'not', term: expression.term };
  if (isAboutPacket(expression)) return { is: 'part', number: parts.push(expression) - 1 };
  if (expression.is !== 'and' && expression.is !== 'or') throw new RangeError(`not before ${expression.is}`);
  // Terms of one junction about the packet are one part, wherever they stand in it.
  const own = expression.terms.filter(isAboutPacket);
  const others = expression.terms.filter((term) => !isAboutPacket(term)).map((term) => taken(term, parts));
  if (own.length === 0) return { is: expression.is, terms: others };
  return { is: expression.is, terms: [taken(own.length === 1 ? own[0] : { is: expression.is, terms: own }, parts), ...others] };
}

/** With every decision unknown: false only where no decision could make the filter true. */
export function possible(parted: Parted): Parted {
  if (typeof parted === 'boolean' || parted.is === 'part') return parted;
  if (parted.is !== 'and' && parted.is !== 'or') return true;
  const terms = parted.terms.map(possible);
  const absorbing = parted.is === 'or';
  if (terms.includes(absorbing)) return absorbing;
  const rest = terms.filter((term) => typeof term !== 'boolean');
  if (rest.length === 0) return !absorbing;
  return rest.length === 1 ? rest[0] : { is: parted.is, terms: rest };
}
