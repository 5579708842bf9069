/**
 * A filter → two functions over a batch, each one loop without a call per term. They are made as source text whose only variable parts are whole numbers of a
 * validated Expression: V8 then compiles the loop with every constant in its instructions, which is what keeps a trace that matches nothing below 3 % of the packet path
 * (docs/trace.md, "What it costs").
 *
 *     filter    host A and (dropped or service web)
 *     select    host A                                   before the batch is processed: packets lie as they came, decisions are unknown
 *     decide    host A and (dropped or service web)      when the batch has left
 *
 * Where any packet could still match (`dropped`, `service web`) there is nothing to select, and `decide` looks at all of the batch.
 */
import { Arena } from '../../base/arena.ts';
import { Batch, type IngressFacts, LINK_ETHERNET } from '../../base/batch.ts';
import { DROP_REASONS } from '../../base/drop-reason.ts';
import { VERDICT_APART, VERDICT_DROP, VERDICT_HELD, VERDICTS } from '../../base/verdict.ts';
import type { ColumnNames } from '../numbers.ts';
import { type DecisionTerm, type Expression, FLAG_TESTS, isDecision, type PacketTerm, termsOf } from './expression.ts';
import { familyOf, flagsOf, networkOf, portsOf, protocolOf } from './headers.ts';
import { type Parted, partedOf, possible } from './parts.ts';

export interface CompiledFilter {
  /** False: any packet may match, whatever it is. */
  readonly selects: boolean;
  /** False: nothing is asked about packets themselves; `select` need not be called. */
  readonly looks: boolean;
  /** False: nothing is asked about what became of packets; whatever is selected matches, unless it is set apart. */
  readonly decides: boolean;
  /** True when it may match packets of no service that are answered in place (pings): these must be copied before they are. */
  readonly answers: boolean;
  /**
   * Before the batch is processed: writes the numbers of packets that may match to `selected` and returns how many; notes in `parts`, for these, what `decide` wants to
   * know. With `selects` false it notes that for all of them and returns 0.
   */
  readonly select: (selected: Int32Array, parts: Int32Array) => number;
  /**
   * When the batch has left: of the first `count` packets in `selected` (with `selects` false: of the batch) those that match are written to `matched`, in order. Returns
   * how many. Packets that are set apart are left out.
   */
  readonly decide: (selected: Int32Array, parts: Int32Array, count: number, matched: Int32Array) => number;
}

/** Cheap and selective first: the loop then looks at one word of most packets. */
const RANK: Readonly<Record<PacketTerm['is'], number>> = { address: 0, length: 1, port: 2, flags: 3, family: 4, protocol: 5 };
const FAMILY = 'familyOf(view, at, LENGTH)';

/** `names`: whom the names of decision terms mean; a name that it does not have matches nothing. The filter has at most MOST_TERMS terms. */
export function compileFilter(expression: Expression, batch: Batch, names: ColumnNames): CompiledFilter {
  const parts: Expression[] = [];
  const filter = partedOf(expression, parts);
  const candidates = possible(filter);
  const selects = candidates !== true;
  const tables: Uint8Array[] = [];
  const at =
    batch.ingress.link === LINK_ETHERNET
      ? 'const end = (frameAt[i] + frameLength[i]) | 0, at = networkOf(view, frameAt[i], end);'
      : 'const at = frameAt[i];';
  const selection = `{ ${at} ${withLength(selectText(parts, candidates), batch)} }`;
  const matches = decideText(filter, (term) => termText(term, names, tables));
  const decision = `if (${matches} && verdict[i] !== ${VERDICT_APART}) matched[n++] = i;`;
  const source = [
    '"use strict";',
    'const { frameAt, frameLength, verdict, reason, service, backend } = batch;',
    'const { view } = batch.arena;',
    'function select(selected, parts) {',
    '  const count = batch.count;',
    '  let n = 0, p = 0, f = 0, w = 0, i = 0;',
    ...inFours(selection),
    '  return n;',
    '}',
    'function decide(selected, parts, count, matched) {',
    '  let n = 0, i = 0;',
    ...(selects ? [`for (let s = 0; s < count; s++) { i = selected[s]; ${decision} }`] : inFours(decision)),
    '  return n;',
    '}',
    'return { select, decide };',
  ].join('\n');
  const make = new Function('batch', 'tables', 'networkOf', 'familyOf', 'protocolOf', 'portsOf', 'flagsOf', source);
  const made = make(batch, tables, networkOf, familyOf, protocolOf, portsOf, flagsOf) as Pick<
    CompiledFilter,
    'select' | 'decide'
  >;
  return {
    selects,
    looks: parts.length > 0,
    decides: termsOf(expression).some(isDecision),
    answers: mayMatchAnswered(filter) !== false,
    select: made.select,
    decide: made.decide,
  };
}

/**
 * Compiles `expression` for a batch of nothing and runs it, so that whatever can not be compiled is known before a forwarding thread has it. Throws what compileFilter
 * throws, or the SyntaxError of its source.
 */
export function tryFilter(expression: Expression): void {
  const facts: IngressFacts = { link: LINK_ETHERNET, hopDone: false, canPass: false, headerVerified: false };
  const none = new Int32Array(1);
  const { select, decide } = compileFilter(expression, new Batch(Arena.inProcess(1), facts), { services: [], backends: [] });
  select(none, none);
  decide(none, none, 0, none);
}

/**
 * The loop over `i` from 0 to `count` with four steps in each turn: what a turn costs beside them (V8 looks in each whether somebody wants the thread to stop) is a third of a
 * step that looks at one word.
 */
function inFours(step: string): string[] {
  const steps = ['i', '(i + 1)', '(i + 2)', '(i + 3)'].map((place) => step.replaceAll(/\bi\b/g, place));
  return [`for (const most = count - 3; i < most; i += 4) { ${steps.join(' ')} }`, `for (; i < count; i++) { ${step} }`];
}

/** The packet's bytes to the end of its frame, looked up where they are asked for: for most packets an address has answered before. */
function withLength(text: string, batch: Batch): string {
  return text.replaceAll('LENGTH', batch.ingress.link === LINK_ETHERNET ? 'end - at' : 'frameLength[i]');
}

function selectText(parts: readonly Expression[], candidates: Parted): string {
  if (candidates === false || parts.length === 0) return '';
  if (parts.length === 1 && candidates !== true) return `if (${packetText(parts[0])}) { parts[i] = 1; selected[n++] = i; }`;
  const noted = parts.map((part, k) => `(${packetText(part)} ? ${1 << k} : 0)`).join(' | ');
  if (candidates === true) return `parts[i] = ${noted};`;
  return `const m = ${noted}; if (${decideText(candidates, () => 'true').replaceAll('parts[i]', 'm')}) { parts[i] = m; selected[n++] = i; }`;
}

function decideText(parted: Parted, term: (term: DecisionTerm) => string): string {
  if (typeof parted === 'boolean') return String(parted);
  if (parted.is === 'part') return `(parts[i] & ${1 << parted.number}) !== 0`;
  if (parted.is === 'not') return `!(${term(parted.term)})`;
  if (parted.is === 'and' || parted.is === 'or') {
    return `(${parted.terms.map((one) => decideText(one, term)).join(parted.is === 'and' ? ' && ' : ' || ')})`;
  }
  return term(parted);
}

function termText(term: DecisionTerm, names: ColumnNames, tables: Uint8Array[]): string {
  const dropped = `verdict[i] === ${VERDICT_DROP}`;
  switch (term.is) {
    case 'verdict':
      return `verdict[i] === ${term.verdict === 'held' ? VERDICT_HELD : VERDICTS.indexOf(term.verdict)}`;
    case 'drop':
      if (term.reason === null) return dropped;
      return `(reason[i] === ${DROP_REASONS.findIndex(({ word }) => word === term.reason)} && ${dropped})`;
    case 'service':
    case 'pool': {
      const meant = names.services.filter(({ name, pool }) => (term.is === 'pool' ? pool : name) === term.name);
      return memberText('service', meant, tables);
    }
    case 'backend': {
      const meant = names.backends.filter(({ name, pool }) => name === term.name && (term.pool === null || pool === term.pool));
      return memberText('backend', meant, tables);
    }
  }
}

/** The column holds one of the numbers: by a table of flags when there are several. −1 (none) is never one. */
function memberText(column: 'service' | 'backend', meant: readonly { readonly number: number }[], tables: Uint8Array[]): string {
  if (meant.length === 0) return 'false';
  if (meant.length === 1) return `${column}[i] === ${whole(meant[0].number)}`;
  const flags = new Uint8Array(Math.max(...meant.map(({ number }) => number)) + 2);
  for (const { number } of meant) flags[number + 1] = 1;
  tables.push(flags);
  return `tables[${tables.length - 1}][${column}[i] + 1] === 1`;
}

/** Whether the filter is true for a packet of no service with verdict reply; null where that depends on the packet. */
function mayMatchAnswered(parted: Parted): boolean | null {
  if (typeof parted === 'boolean') return parted;
  switch (parted.is) {
    case 'part':
      return null;
    case 'not': {
      const inner = mayMatchAnswered(parted.term);
      return inner === null ? null : !inner;
    }
    case 'and':
    case 'or': {
      const terms = parted.terms.map(mayMatchAnswered);
      const absorbing = parted.is === 'or';
      return terms.includes(absorbing) ? absorbing : terms.includes(null) ? null : !absorbing;
    }
    case 'verdict':
      return parted.verdict === 'reply';
    default:
      return false;
  }
}

function packetText(expression: Expression): string {
  if (expression.is === 'all') return 'true';
  if (expression.is === 'not') return `!(${packetText(expression.term)})`;
  if (expression.is === 'and' || expression.is === 'or') {
    const ordered = [...expression.terms].sort((a, b) => rankOf(a) - rankOf(b));
    return `(${ordered.map(packetText).join(expression.is === 'and' ? ' && ' : ' || ')})`;
  }
  if (isDecision(expression)) throw new RangeError(`${expression.is} is not about a packet`);
  return packetTermText(expression);
}

function rankOf(expression: Expression): number {
  if (expression.is === 'not') return 3 + rankOf(expression.term);
  if (expression.is === 'and') return Math.min(...expression.terms.map(rankOf));
  if (expression.is === 'or') return Math.max(...expression.terms.map(rankOf));
  return expression.is === 'all' || isDecision(expression) ? 0 : RANK[expression.is];
}

/**
 * A number as it may stand in source text. Throws RangeError for whatever else a term holds in its place: nothing but whole numbers, and none that somebody else made
 * text of, becomes code.
 */
function whole(value: number): number {
  if (!Number.isInteger(value)) throw new RangeError('a term of a filter holds something else than a whole number');
  return value;
}

/** The same for all numbers of a term about packets, and for its comparison. */
function checkTerm(term: PacketTerm): void {
  switch (term.is) {
    case 'address':
      for (const value of [term.family, ...term.words, ...term.masks]) whole(value);
      return;
    case 'family':
      whole(term.family);
      return;
    case 'protocol':
      for (const value of [term.family, term.number]) whole(value);
      return;
    case 'port':
      for (const value of [term.from, term.to]) whole(value);
      return;
    case 'length':
      for (const value of [term.least, term.most]) whole(value);
      return;
    case 'flags':
      for (const value of [term.mask, term.value]) whole(value);
      if (!FLAG_TESTS.includes(term.test)) throw new RangeError('a term of a filter compares by something else than FLAG_TESTS');
      return;
  }
}

function packetTermText(term: PacketTerm): string {
  checkTerm(term);
  switch (term.is) {
    case 'address': {
      const [source, destination] = term.family === 4 ? [12, 16] : [8, 24];
      const sides = term.side === 'src' ? [source] : term.side === 'dst' ? [destination] : [source, destination];
      // The words first: they differ for most packets. Behind a short packet lies memory of the arena, and its family says that it is short.
      return `((${sides.map((from) => wordsText(term, from)).join(' || ')}) && ${FAMILY} === ${term.family})`;
    }
    case 'family':
      return `(view.getUint8(at) >>> 4 === ${term.family} && ${FAMILY} === ${term.family})`;
    case 'protocol': {
      const quick = `(view.getUint8(at) >>> 4 !== 4 || view.getUint8(at + 9) === ${term.number})`;
      const matches = `${quick} && protocolOf(view, at, LENGTH, ${FAMILY}) === ${term.number}`;
      return term.family === 0 ? `(${matches})` : `(${FAMILY} === ${term.family} && ${matches})`;
    }
    case 'port': {
      const places = term.side === 'src' ? [0] : term.side === 'dst' ? [2] : [0, 2];
      const within = (at: string) => {
        // One load for both, little-endian as the machine has it.
        if (places.length === 2 && term.from === term.to) {
          const swapped16 = ((term.from & 0xff) << 8) | (term.from >>> 8);
          return `((w = view.getInt32(${at}, true)) & 0xffff) === ${swapped16} || w >>> 16 === ${swapped16}`;
        }
        const loads = places.map((from) => `view.getUint16(${at} + ${from})`);
        if (term.from === term.to) return loads.map((load) => `${load} === ${term.from}`).join(' || ');
        return loads.map((load) => `((${load} - ${term.from}) >>> 0) <= ${term.to - term.from}`).join(' || ');
      };
      return `(${quickly(within)} && (p = portsOf(view, at, LENGTH, ${FAMILY})) >= 0 && (${within('p')}))`;
    }
    case 'length':
      return `(LENGTH >= ${term.least} && LENGTH <= ${term.most})`;
    case 'flags': {
      const test = `${term.test}${term.test === '==' || term.test === '!=' ? '=' : ''} ${term.value}`;
      const quick = quickly((transport) => `(view.getUint8(${transport} + 13) & ${term.mask}) ${test}`);
      return `(${quick} && (f = flagsOf(view, at, LENGTH, ${FAMILY})) >= 0 && (f & ${term.mask}) ${test})`;
    }
  }
}

/**
 * A question about the transport header where it stands in most packets: behind an IPv4 header without options, an IPv6 header without extensions. False only where the
 * question asked in the right place is false as well: most packets need no more.
 */
function quickly(question: (transport: string) => string): string {
  const plain6 = '(view.getUint8(at + 6) === 6 || view.getUint8(at + 6) === 17)';
  return `(view.getUint8(at) === 0x45 ? (${question('at + 20')}) : view.getUint8(at) >>> 4 !== 6 || !${plain6} || (${question('at + 40')}))`;
}

/** Compared as the machine loads them, little-endian: a byte swap less for each packet. */
function wordsText({ words, masks }: Extract<PacketTerm, { is: 'address' }>, from: number): string {
  const compared = words.flatMap((word, k) => {
    const load = `view.getInt32(at + ${from + 4 * k}, true)`;
    if (masks[k] === 0) return [];
    return [masks[k] === -1 ? `${load} === ${swapped(word)}` : `(${load} & ${swapped(masks[k])}) === ${swapped(word)}`];
  });
  return compared.length === 0 ? 'true' : `(${compared.join(' && ')})`;
}

function swapped(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}
