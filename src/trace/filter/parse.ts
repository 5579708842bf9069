/**
 * A filter as people write it → an Expression. The terms about packets are tcpdump's (pcap-filter(7)) and bind as they do there: `not` first; `and` and
 * `or` alike, from left to right; a value alone takes the words before the last one (`port 80 or 443`). Addresses and numbers only: nothing is looked up.
 */
import { DROP_REASONS } from '../../base/drop-reason.ts';
import { VERDICTS } from '../../base/verdict.ts';
import { parseAnyAddress } from '../../config/address.ts';
import {
  type Expression,
  FLAG_TESTS,
  type FlagTest,
  MOST_CHARACTERS,
  MOST_DEPTH,
  MOST_TERMS,
  type Side,
  type Term,
  termsOf,
  type VerdictWord,
} from './expression.ts';
import { filterError, type Token, tokensOf } from './tokens.ts';

// Maps, not objects: a word of a filter may be `constructor`, which every object has.
const PROTOCOLS: ReadonlyMap<string, Term> = new Map<string, Term>([
  ['ip', { is: 'family', family: 4 }],
  ['ip6', { is: 'family', family: 6 }],
  ['tcp', { is: 'protocol', family: 0, number: 6 }],
  ['udp', { is: 'protocol', family: 0, number: 17 }],
  ['sctp', { is: 'protocol', family: 0, number: 132 }],
  ['icmp', { is: 'protocol', family: 4, number: 1 }],
  ['icmp6', { is: 'protocol', family: 6, number: 58 }],
]);
/** Names that `proto` takes beside numbers, as tcpdump has them. */
const PROTOCOL_NUMBERS: ReadonlyMap<string, number> = new Map<string, number>([
  ['icmp', 1],
  ['tcp', 6],
  ['udp', 17],
  ['icmp6', 58],
  ['sctp', 132],
]);
const FLAGS: ReadonlyMap<string, number> = new Map<string, number>([
  ['tcp-fin', 1],
  ['tcp-syn', 2],
  ['tcp-rst', 4],
  ['tcp-push', 8],
  ['tcp-ack', 16],
  ['tcp-urg', 32],
  ['tcp-ece', 64],
  ['tcp-cwr', 128],
]);
const FLAG_WORDS: ReadonlyMap<string, number> = new Map<string, number>([
  ['fin', 1],
  ['syn', 2],
  ['rst', 4],
]);
const VERDICT_WORDS: readonly string[] = [...VERDICTS, 'held'];
const TYPES = ['host', 'net', 'port', 'portrange', 'proto'] as const;
const NAMED = ['service', 'pool', 'backend', 'verdict', 'drop'] as const;
const JOINTS: ReadonlyMap<string, 'and' | 'or'> = new Map<string, 'and' | 'or'>([
  ['and', 'and'],
  ['&&', 'and'],
  ['or', 'or'],
  ['||', 'or'],
]);
const WORDS = 'host, net, port, portrange, src, dst, tcp, udp, icmp, icmp6, ip, ip6, proto, less, greater, syn, fin, rst';
const OWN_WORDS = 'service, pool, backend, verdict, drop, dropped';
const HELP = `words about the packet: ${WORDS}; about what became of it: ${OWN_WORDS} (gue-director trace --help)`;

type Type = (typeof TYPES)[number];
type Named = (typeof NAMED)[number];
/** What a value that stands alone is taken for. */
type Qualifiers =
  | { readonly protocol: string | null; readonly side: Side | 'both'; readonly type: Type }
  | { readonly named: Named };

/** Throws GD_TRACE_FILTER (exit code 2) with the column and what to write. An empty filter is every packet. */
export function parseFilter(filter: string): Expression {
  if (filter.length > MOST_CHARACTERS)
    throw filterError(
      '',
      1,
      `longer than ${MOST_CHARACTERS} characters`,
      'name a net, a service or a pool instead of each address',
    );
  const tokens = tokensOf(filter);
  if (tokens.length === 0) return { is: 'all' };
  const parser = new Parser(filter, tokens);
  const expression = parser.whole();
  if (termsOf(expression).length > MOST_TERMS) {
    const hint = 'name a net, a service or a pool instead of each address';
    throw filterError(filter, 1, `more than ${MOST_TERMS} terms`, hint);
  }
  return expression;
}

class Parser {
  readonly #filter: string;
  readonly #tokens: readonly Token[];
  #next = 0;
  /** Parentheses that are open. */
  #depth = 0;
  #last: Qualifiers | null = null;

  constructor(filter: string, tokens: readonly Token[]) {
    this.#filter = filter;
    this.#tokens = tokens;
  }

  whole(): Expression {
    const expression = this.#sequence();
    const rest = this.#peek();
    if (rest !== null) {
      const message = rest === ')' ? '")" closes nothing' : `"${rest}" stands where and, or, or the end is expected`;
      throw this.#wrong(this.#next, message, 'terms are joined by and, or; groups stand in parentheses');
    }
    return expression;
  }

  #sequence(): Expression {
    let left = this.#unary();
    for (;;) {
      const joint = JOINTS.get(this.#peek() ?? '');
      if (joint === undefined) return left;
      this.#next++;
      const right = this.#unary();
      left = left.is === joint ? { is: joint, terms: [...left.terms, right] } : { is: joint, terms: [left, right] };
    }
  }

  /** A `not` before a `not` takes it away: what comes of a filter is no deeper than its terms are many. */
  #unary(): Expression {
    let negated = false;
    for (; this.#peek() === 'not' || this.#peek() === '!'; this.#next++) negated = !negated;
    const inside = this.#peek() === '(' ? this.#group() : this.#primitive();
    if (!negated) return inside;
    return inside.is === 'not' ? inside.term : { is: 'not', term: inside };
  }

  #group(): Expression {
    const open = this.#next++;
    if (++this.#depth > MOST_DEPTH)
      throw this.#wrong(open, `more than ${MOST_DEPTH} parentheses in each other`, 'leave out those around a single term');
    const inside = this.#sequence();
    if (this.#peek() !== ')') throw this.#wrong(open, '"(" is not closed', 'add ")"');
    this.#next++;
    this.#depth--;
    return inside;
  }

  #primitive(): Expression {
    const at = this.#next;
    const word = this.#take('a term');
    if (word === 'less') return { is: 'length', least: 0, most: this.#number('less', 0, 65_575) };
    if (word === 'greater') return { is: 'length', least: this.#number('greater', 0, 65_575), most: 0x7fffffff };
    const mask = FLAG_WORDS.get(word);
    if (mask !== undefined) return { is: 'flags', mask, test: '!=', value: 0 };
    if (word === 'dropped') return { is: 'drop', reason: null };
    if ((NAMED as readonly string[]).includes(word)) return this.#named(word as Named);
    if (word === 'tcp' && this.#peek() === '[') return this.#flagTest();
    if (PROTOCOLS.has(word)) return this.#qualified(word);
    if (word === 'src' || word === 'dst' || (TYPES as readonly string[]).includes(word)) {
      this.#next = at;
      return this.#qualified(null);
    }
    if (/^[A-Za-z]+$/.test(word) && this.#last === null) throw this.#wrong(at, `"${word}" is no word of a filter`, HELP);
    // A value alone.
    this.#next = at;
    if (this.#last === null) return this.#ofType(null, 'either', 'host');
    if ('named' in this.#last) return this.#named(this.#last.named);
    return this.#ofType(this.#last.protocol, this.#last.side, this.#last.type);
  }

  /** After a protocol or nothing: direction, type and value; the protocol alone is a term too. */
  #qualified(protocol: string | null): Expression {
    const own = protocol === null ? undefined : PROTOCOLS.get(protocol);
    let side: Side | 'both' = 'either';
    let directed = false;
    const first = this.#peek();
    if (first === 'src' || first === 'dst') {
      directed = true;
      this.#next++;
      side = first;
      const joint = this.#peek();
      const other = first === 'src' ? 'dst' : 'src';
      if ((joint === 'or' || joint === 'and') && this.#peek(1) === other && this.#isDirected(2)) {
        this.#next += 2;
        side = joint === 'or' ? 'either' : 'both';
      }
    }
    const type = this.#peek();
    if (type !== null && (TYPES as readonly string[]).includes(type)) {
      this.#next++;
      return this.#ofType(protocol, side, type as Type);
    }
    if (directed) return this.#ofType(protocol, side, 'host');
    if (own === undefined) throw this.#wrong(this.#next, 'a term is expected', HELP);
    this.#last = null;
    return own;
  }

  /** `src or dst` is one direction when a type or a value follows, two terms when another direction's value does. */
  #isDirected(ahead: number): boolean {
    const word = this.#peek(ahead);
    return word !== null && !JOINTS.has(word) && word !== ')';
  }

  #ofType(protocol: string | null, side: Side | 'both', type: Type): Expression {
    const term = this.#typed(protocol, side, type);
    this.#last = { protocol, side, type };
    const own = protocol === null || type === 'proto' ? undefined : PROTOCOLS.get(protocol);
    return own === undefined ? term : { is: 'and', terms: [own, term] };
  }

  #typed(protocol: string | null, side: Side | 'both', type: Type): Expression {
    const at = this.#next;
    const on = (make: (one: Side) => Term): Expression =>
      side === 'both' ? { is: 'and', terms: [make('src'), make('dst')] } : make(side);
    if (type === 'proto') {
      const word = this.#take('a protocol number').replace(/^\\/, '');
      const number = PROTOCOL_NUMBERS.get(word) ?? (/^\d{1,3}$/.test(word) ? Number(word) : 256);
      if (number > 255)
        throw this.#wrong(at, `"${word}" is no protocol`, 'a number from 0 to 255 (IANA), or tcp, udp, icmp, icmp6, sctp');
      if (protocol !== null && protocol !== 'ip' && protocol !== 'ip6')
        throw this.#wrong(at - 1, `proto does not follow ${protocol}`, `write "${protocol}" alone, or "ip proto ${word}"`);
      return { is: 'protocol', family: protocol === null ? 0 : protocol === 'ip' ? 4 : 6, number };
    }
    if (type === 'port' || type === 'portrange') {
      const { from, to } = this.#ports(type);
      return on((one) => ({ is: 'port', side: one, from, to }));
    }
    const { family, words, masks } = this.#address(type);
    return on((one) => ({ is: 'address', side: one, family, words, masks }));
  }

  #ports(type: 'port' | 'portrange'): { from: number; to: number } {
    const at = this.#next;
    const word = this.#take(type === 'port' ? 'a port' : 'two ports');
    const found = (type === 'port' ? /^(\d{1,5})$/ : /^(\d{1,5})(?:-(\d{1,5}))?$/).exec(word);
    const [from, to] = found === null ? [65536, 0] : [Number(found[1]), Number(found[2] ?? found[1])];
    if (from > 65535 || to > 65535) {
      const [what, example] = type === 'port' ? ['no port', '443'] : ['no range of ports', '8000-8080'];
      throw this.#wrong(
        at,
        `"${word}" is ${what}`,
        `numbers from 0 to 65535: ${type} ${example}; names of ports are not looked up`,
      );
    }
    return { from: Math.min(from, to), to: Math.max(from, to) };
  }

  #address(type: 'host' | 'net'): { family: 4 | 6; words: number[]; masks: number[] } {
    const at = this.#next;
    const word = this.#take(type === 'host' ? 'an address' : 'a network');
    const [text, length, ...more] = word.split('/');
    const { value, refusal } = parseAnyAddress(text);
    if (refusal !== null || more.length > 0) {
      throw this.#wrong(
        at,
        refusal?.message ?? `"${word}" is no network`,
        `write an address: ${type} ${type === 'host' ? '192.0.2.7' : '192.0.2.0/24'}`,
      );
    }
    if (type === 'host' && length !== undefined) throw this.#wrong(at, `"${word}" is a network`, `write "net ${word}"`);
    const bits = value.length * 8;
    const kept = length === undefined ? bits : /^\d{1,3}$/.test(length) ? Number(length) : bits + 1;
    if (kept > bits) throw this.#wrong(at, `"/${length}" is no prefix length`, `a number from 0 to ${bits}`);
    const view = new DataView(value.buffer, value.byteOffset, value.length);
    const words: number[] = [];
    const masks: number[] = [];
    for (let k = 0; k < value.length / 4; k++) {
      const here = Math.min(Math.max(kept - 32 * k, 0), 32);
      const mask = here === 0 ? 0 : (-1 << (32 - here)) | 0;
      masks.push(mask);
      words.push(view.getInt32(4 * k) & mask);
      if (words[k] !== view.getInt32(4 * k))
        throw this.#wrong(at, `"${word}" has bits behind its prefix`, 'write the network itself, such as 192.0.2.0/24');
    }
    return { family: value.length === 4 ? 4 : 6, words, masks };
  }

  #named(word: Named): Expression {
    const at = this.#next;
    const name = this.#take(word === 'drop' ? 'a drop reason' : word === 'verdict' ? 'a verdict' : `the name of a ${word}`);
    this.#last = { named: word };
    if (word === 'verdict') {
      if (VERDICT_WORDS.includes(name)) return { is: 'verdict', verdict: name as VerdictWord };
      throw this.#wrong(at, `"${name}" is no verdict`, `one of ${VERDICT_WORDS.join(', ')}`);
    }
    if (word === 'drop') {
      if (DROP_REASONS.slice(1).some((reason) => reason.word === name)) return { is: 'drop', reason: name };
      throw this.#wrong(at, `"${name}" is no drop reason`, 'docs/drop-reasons.md lists them; "dropped" takes any');
    }
    if (word !== 'backend') return { is: word, name };
    const [first, second, ...more] = name.split('/');
    if (more.length > 0 || first === '' || second === '')
      throw this.#wrong(at, `"${name}" is no backend`, 'write backend NAME, or backend POOL/NAME');
    return second === undefined ? { is: 'backend', pool: null, name: first } : { is: 'backend', pool: first, name: second };
  }

  /** `tcp[tcpflags] & tcp-syn != 0` behind `tcp`; also 13 for tcpflags, and without a mask. */
  #flagTest(): Expression {
    const open = this.#next++;
    const index = this.#take('tcpflags');
    const hint = 'tcp[tcpflags] & tcp-syn != 0   or, shorter: syn';
    if (index !== 'tcpflags' && index !== '13')
      throw this.#wrong(open + 1, `"tcp[${index}]" is not looked at, only tcp[tcpflags]`, hint);
    if (this.#take('"]"') !== ']') throw this.#wrong(this.#next - 1, '"]" is expected', hint);
    let mask = 0xff;
    if (this.#peek() === '&') {
      this.#next++;
      mask = this.#flagValue();
    }
    const at = this.#next;
    const word = this.#take('a comparison');
    const test = (word === '=' ? '==' : word) as FlagTest;
    if (!FLAG_TESTS.includes(test)) throw this.#wrong(at, `"${word}" is no comparison`, hint);
    const value = this.#flagValue();
    this.#last = null;
    return { is: 'flags', mask, test, value };
  }

  /** A number from 0 to 255, names of flags, or these joined by | in parentheses. */
  #flagValue(): number {
    const isGroup = this.#peek() === '(';
    if (isGroup) this.#next++;
    let value = 0;
    for (;;) {
      const at = this.#next;
      const word = this.#take('a TCP flag');
      const number = FLAGS.get(word) ?? (/^(?:\d{1,3}|0x[0-9a-fA-F]{1,2})$/.test(word) ? Number(word) : 256);
      if (number > 255)
        throw this.#wrong(at, `"${word}" is no TCP flag`, `a number from 0 to 255, or one of ${[...FLAGS.keys()].join(', ')}`);
      value |= number;
      if (!isGroup) return value;
      const closing = this.#next;
      const joint = this.#take('")"');
      if (joint === ')') return value;
      if (joint !== '|') throw this.#wrong(closing, '"|" or ")" is expected', 'tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn');
    }
  }

  #number(of: string, least: number, most: number): number {
    const at = this.#next;
    const word = this.#take('a number');
    const value = /^\d{1,9}$/.test(word) ? Number(word) : -1;
    if (value >= least && value <= most) return value;
    throw this.#wrong(at, `"${word}" is no number from ${least} to ${most}`, `${of} 1500`);
  }

  #peek(ahead = 0): string | null {
    return this.#tokens[this.#next + ahead]?.text ?? null;
  }

  #take(expected: string): string {
    const token = this.#tokens[this.#next];
    if (token === undefined) throw this.#wrong(this.#next, `${expected} is expected, but the filter ends`, HELP);
    this.#next++;
    return token.text;
  }

  #wrong(token: number, message: string, hint: string): Error {
    return filterError(this.#filter, this.#tokens[token]?.column ?? this.#filter.trimEnd().length + 1, message, hint);
  }
}
