/** Rules of nftables, as `nft -j list ruleset` prints them (libnftables-json(5)), for one kind of outer packet. */
import { allOf, type Chains, type Fit, type Rule, type Verdict } from './filter-walk.ts';
import { fitsDestination, fitsPort, fitsSourcePort, fitsState, not, type Outer, type Range } from './outer-packet.ts';

interface Left {
  readonly payload?: { readonly protocol?: string; readonly field?: string };
  readonly meta?: { readonly key?: string };
  readonly ct?: { readonly key?: string };
  readonly '&'?: readonly [Left, unknown];
}

interface Match {
  readonly left?: Left;
  readonly op?: string;
  readonly right?: unknown;
}

type Expression = Readonly<Record<string, unknown>>;

export interface NftChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
}

export interface RulesetEntry {
  readonly chain?: NftChain;
  readonly rule?: {
    readonly family: string;
    readonly table: string;
    readonly chain: string;
    readonly handle: number;
    readonly expr?: readonly Expression[];
  };
}

/** Words of what is not condition and not verdict: they change nothing for the packet. */
const SILENT = new Set(['counter', 'log', 'comment']);
/** Targets of iptables that go on with the next rule. */
const XT_GOES_ON =
  /^(LOG|NFLOG|ULOG|TRACE|MARK|CONNMARK|SECMARK|CONNSECMARK|CT|NOTRACK|TCPMSS|DSCP|TOS|CLASSIFY|CHECKSUM|AUDIT)$/;

/** Numbers, words and ranges of a right side, flat; null when it is in a named set, or otherwise not to be seen here. */
function valuesOf(right: unknown): (number | string | Range)[] | null {
  if (typeof right === 'number') return [right];
  if (typeof right === 'string') return right.startsWith('@') ? null : [right];
  if (Array.isArray(right)) return flat(right);
  if (typeof right !== 'object' || right === null) return null;
  const { set, range, elem, prefix } = right as {
    set?: unknown;
    range?: readonly unknown[];
    elem?: { val?: unknown };
    prefix?: { addr?: unknown };
  };
  if (set !== undefined) return valuesOf(set);
  if (elem !== undefined) return valuesOf(elem.val);
  if (typeof prefix?.addr === 'string') return [prefix.addr];
  if (range === undefined) return null;
  const [from, to] = range;
  if (typeof from === 'number' && typeof to === 'number') return [[from, to]];
  return typeof from === 'string' ? [from] : null;
}

function flat(list: readonly unknown[]): (number | string | Range)[] | null {
  const parts = list.map(valuesOf);
  return parts.some((part) => part === null) ? null : parts.flatMap((part) => part ?? []);
}

const HIGHEST: Readonly<Record<string, (value: number) => Range>> = {
  '<': (value) => [0, value - 1],
  '<=': (value) => [0, value],
  '>': (value) => [value + 1, 65535],
  '>=': (value) => [value, 65535],
};

function rangesOf(values: readonly (number | string | Range)[], op: string): Range[] {
  return values.flatMap((value): Range[] => {
    if (typeof value === 'string') return [];
    if (typeof value !== 'number') return [value];
    return [HIGHEST[op]?.(value) ?? [value, value]];
  });
}

const words = (values: readonly (number | string | Range)[]) => values.filter((value) => typeof value === 'string');

/** Whether the values of a field are those of the outer packet. */
function fitsValues(left: Left, op: string, values: readonly (number | string | Range)[] | null, outer: Outer): Fit {
  const { payload, meta, ct } = left;
  const named = (known: () => Fit, otherwise: Fit = 'maybe'): Fit => (values === null ? otherwise : known());
  const isProtocol = meta?.key === 'l4proto' || payload?.field === 'protocol' || payload?.field === 'nexthdr';
  if (isProtocol) return named(() => (outer.protocols.some((name) => values?.includes(name)) ? 'yes' : 'no'));
  if (payload?.protocol === 'udp' || payload?.protocol === 'th') {
    if (payload.field === 'dport') return named(() => fitsPort(rangesOf(values ?? [], op), outer));
    if (payload.field === 'sport') return named(() => fitsSourcePort(rangesOf(values ?? [], op), outer));
    return 'maybe';
  }
  if (payload?.field === 'saddr') return 'some';
  if (payload?.field === 'daddr')
    return named(() => (words(values ?? []).some((text) => fitsDestination(text) !== 'no') ? 'some' : 'no'), 'some');
  if (meta?.key === 'protocol') return named(() => (values?.includes(outer.family === 4 ? 'ip' : 'ip6') ? 'yes' : 'no'));
  if (meta?.key === 'nfproto') return named(() => (values?.includes(outer.family === 4 ? 'ipv4' : 'ipv6') ? 'yes' : 'no'));
  if (meta?.key === 'iifname' || meta?.key === 'iif')
    return named(() => (values?.every((value) => value === 'lo') ? 'no' : 'some'), 'some');
  if (ct?.key === 'state') return named(() => fitsState(words(values ?? [])));
  if (ct?.key === 'status')
    return named(() => (words(values ?? []).some((word) => !/^(dnat|snat|seen-reply|assured)$/.test(word)) ? 'maybe' : 'no'));
  return 'maybe';
}

/** False for a header that the outer packet does not have. */
function hasHeader({ payload }: Left, outer: Outer): boolean {
  switch (payload?.protocol) {
    case undefined:
    case 'th':
    case 'ether':
    case 'vlan':
      return true;
    case 'ip':
      return outer.family === 4;
    case 'ip6':
      return outer.family === 6;
    default:
      return payload?.protocol !== undefined && outer.protocols.includes(payload.protocol);
  }
}

function fitsMatch({ left = {}, op = '==', right }: Match, outer: Outer): Fit {
  if (!hasHeader(left['&']?.[0] ?? left, outer)) return 'no';
  const fit = fitsValues(left, op, valuesOf(right), outer);
  return op === '!=' ? not(fit) : fit;
}

/** `decided`: the rule has a verdict of nftables' own. */
function fitOf(expression: Expression, outer: Outer, decided: boolean): Fit {
  const [[name, value]] = Object.entries(expression);
  if (name === 'match') return fitsMatch(value as Match, outer);
  if (SILENT.has(name)) return 'yes';
  if (name !== 'xt') return verdictOf(expression, outer) === null ? 'maybe' : 'yes';
  // Older nft does not say what it is: a condition, unless the rule has no other verdict.
  const { type = decided ? 'match' : 'target', name: extension } = (value ?? {}) as { type?: string; name?: string };
  return type !== 'match' || extension === 'comment' ? 'yes' : 'maybe';
}

/** null: no verdict. */
function verdictOf(expression: Expression, outer: Outer): Verdict | null {
  const [[name, value]] = Object.entries(expression);
  switch (name) {
    case 'accept':
    case 'return':
      return { kind: name };
    case 'drop':
    case 'reject':
      return { kind: 'drop' };
    case 'continue':
      return { kind: 'none' };
    case 'jump':
    case 'goto':
      return { kind: name, chain: (value as { target: string }).target };
    case 'vmap':
      return mapOf(value as { key?: Left; data?: unknown }, outer);
    case 'queue':
    case 'tproxy':
    case 'redirect':
    case 'dnat':
    case 'synproxy':
      return { kind: 'opaque' };
    case 'xt': {
      const { type = '', name: target = '' } = (value ?? {}) as { type?: string; name?: string };
      if (type === 'match') return null;
      if (XT_GOES_ON.test(target)) return { kind: 'none' };
      return target === 'REJECT' ? { kind: 'drop' } : { kind: 'opaque' };
    }
    default:
      return null;
  }
}

/** A map in the rule itself, `{ lo : accept, eth0 : jump … }`; of one with a name, nobody knows here. */
function mapOf({ key = {}, data }: { readonly key?: Left; readonly data?: unknown }, outer: Outer): Verdict {
  const set = (data as { set?: readonly unknown[] } | null)?.set;
  if (!Array.isArray(set)) return { kind: 'opaque' };
  const entries = set.map((pair) => {
    const [value, verdict] = pair as readonly [unknown, Expression];
    return {
      fit: fitsMatch({ left: key, op: '==', right: value }, outer),
      verdict: verdictOf(verdict, outer) ?? { kind: 'opaque' as const },
    };
  });
  return { kind: 'map', entries };
}

/** True for a condition that the tunnel's port, or its protocol where it has no port, is alone enough to fulfil. */
function namesTunnel(expression: Expression, outer: Outer, alone: boolean): boolean {
  const match = expression.match as Match | undefined;
  const { payload, meta } = match?.left ?? {};
  if (match === undefined || match.op === '!=') return false;
  const isPort = payload?.field === 'dport';
  const isProtocol = meta?.key === 'l4proto' || payload?.field === 'protocol' || payload?.field === 'nexthdr';
  if (outer.port === null ? !isProtocol : !isPort) return false;
  const values = valuesOf(match.right);
  if (fitsMatch(match, outer) !== 'yes' || values === null) return false;
  return !alone || (values.length === 1 && !Array.isArray(values[0]) && HIGHEST[match.op ?? '=='] === undefined);
}

/** The chains of the table of a base chain. */
export function nftChains(entries: readonly RulesetEntry[], base: NftChain, outer: Outer): Chains {
  const { family, table } = base;
  const chains = new Map<string, Rule[]>();
  for (const { chain } of entries) if (chain?.family === family && chain.table === table) chains.set(chain.name, []);
  for (const { rule } of entries) {
    if (rule?.family !== family || rule.table !== table) continue;
    const { chain, handle, expr = [] } = rule;
    const deciding = (one: Expression) => (verdictOf(one, outer)?.kind ?? 'none') !== 'none';
    const own = expr.find((one) => !('xt' in one) && deciding(one));
    const decider = own ?? expr.find(deciding);
    const exact = expr.some((one) => namesTunnel(one, outer, true));
    chains.get(chain)?.push({
      fit: allOf(expr.map((one) => fitOf(one, outer, own !== undefined))),
      verdict: (decider === undefined ? null : verdictOf(decider, outer)) ?? { kind: 'none' },
      ours: expr.some((one) => namesTunnel(one, outer, false)),
      place: `chain ${chain} in table ${family} ${table}, handle ${handle}`,
      removal: exact ? `nft delete rule ${family} ${table} ${chain} handle ${handle}` : null,
    });
  }
  return chains;
}
