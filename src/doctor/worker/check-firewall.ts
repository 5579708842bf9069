/**
 * Checks of the packet filter, as far as a look at its rules tells: a rule that drops the tunnel's port or protocol, or a policy that drops what no rule accepts. Rules that are
 * restricted to some sources are those of an operator who lets only directors in, and are not judged.
 */
import type { Found } from '../finding.ts';
import type { WorkerFacts } from './facts.ts';
import type { WantedTunnel, WorkerWanted } from './wanted.ts';

interface Match {
  readonly left?: {
    readonly payload?: { readonly protocol?: string; readonly field?: string };
    readonly meta?: { readonly key?: string };
    readonly ct?: object;
  };
  readonly op?: string;
  readonly right?: unknown;
}

type Expression = Record<string, unknown> & { readonly match?: Match };

interface RulesetEntry {
  readonly chain?: {
    readonly family: string;
    readonly table: string;
    readonly name: string;
    readonly hook?: string;
    readonly policy?: string;
  };
  readonly rule?: {
    readonly family: string;
    readonly table: string;
    readonly chain: string;
    readonly handle: number;
    readonly expr: readonly Expression[];
  };
}

/** One kind of outer packet. */
interface Outer {
  readonly family: 4 | 6;
  /** UDP destination port, null: an IP protocol. */
  readonly port: number | null;
  /** Names and numbers of the IP protocol. */
  readonly protocols: readonly (string | number)[];
  readonly text: string;
}

const PROTOCOLS: Readonly<Record<string, readonly (string | number)[]>> = {
  'ipip 4': ['ipip', 'ipencap', 4],
  'ipip 6': ['ipv6', 41],
  gre: ['gre', 47],
};
const FAMILIES: Readonly<Record<string, readonly number[]>> = { ip: [4], ip6: [6], inet: [4, 6] };

function outerOf({ encapsulation, outer, inner, port }: WantedTunnel): Outer {
  if (port !== null) return { family: outer, port, protocols: ['udp', 17], text: `UDP port ${port}` };
  const protocols = PROTOCOLS[encapsulation === 'gre' ? 'gre' : `ipip ${inner}`];
  return { family: outer, port, protocols, text: `IP protocol ${protocols.at(-1)}` };
}

export function checkFirewall({ ruleset }: WorkerFacts, { tunnels }: WorkerWanted): Found[] {
  if (ruleset.kind === 'unknown') {
    return [
      {
        id: 'input-unknown',
        level: ruleset.privilege ? 'skipped' : 'info',
        text: `whether a firewall drops tunnel packets is not known: ${ruleset.reason}`,
        fix: ruleset.privilege ? 'sudo gue-director doctor --worker' : 'apt-get install nftables',
      },
    ];
  }
  const outers = [...new Map(tunnels.map(outerOf).map((outer) => [`${outer.family} ${outer.text}`, outer])).values()];
  if (ruleset.kind === 'iptables') return dedupe(outers.flatMap((outer) => judgeIptables(ruleset.saved, outer)));
  const entries = (JSON.parse(ruleset.json) as { nftables: RulesetEntry[] }).nftables;
  return dedupe(outers.flatMap((outer) => judgeNft(entries, outer)));
}

function dedupe(found: readonly Found[]): Found[] {
  return [...new Map(found.map((finding) => [finding.fix, finding])).values()];
}

/** True when a value of nft's JSON (a number, a word, a range, a set of these) has `wish` in it. */
function includes(right: unknown, wish: string | number): boolean {
  if (Array.isArray(right)) return right.some((one) => includes(one, wish));
  if (typeof right !== 'object' || right === null) return right === wish;
  const { set, range } = right as { set?: unknown; range?: readonly [number, number] };
  if (set !== undefined) return includes(set, wish);
  return range !== undefined && typeof wish === 'number' && range[0] <= wish && wish <= range[1];
}

type Judgement = 'ours' | 'any' | 'others';

/** Whether a rule's conditions are about these packets, about any, or about some that may be others'. */
function concerns(expr: readonly Expression[], { port, protocols, family }: Outer): Judgement {
  let judgement: Judgement = 'any';
  for (const { match } of expr) {
    if (match === undefined) continue;
    const { left, op, right } = match;
    const { payload, meta } = left ?? {};
    const positive = op === '==' || op === 'in' || op === undefined;
    const isProtocol = meta?.key === 'l4proto' || payload?.field === 'protocol' || payload?.field === 'nexthdr';
    if (positive && port !== null && payload?.field === 'dport' && (payload.protocol === 'udp' || payload.protocol === 'th')) {
      if (!includes(right, port)) return 'others';
      judgement = 'ours';
    } else if (positive && isProtocol) {
      if (!protocols.some((name) => includes(right, name))) return 'others';
      if (port === null) judgement = 'ours';
    } else if (positive && meta?.key === 'nfproto') {
      if (!includes(right, family === 4 ? 'ipv4' : 'ipv6')) return 'others';
    } else {
      return 'others';
    }
  }
  return judgement;
}

const drops = (expr: readonly Expression[]) => expr.some((one) => 'drop' in one || 'reject' in one);
const accepts = (expr: readonly Expression[]) => expr.some((one) => 'accept' in one);

/** An accept that is not only about a state of connections, ICMP or another port may let the packets in: then nothing is said. */
function mayAccept(expr: readonly Expression[], outer: Outer): boolean {
  if (!accepts(expr)) return expr.some((one) => 'jump' in one || 'goto' in one);
  if (concerns(expr, outer) !== 'others') return true;
  return !expr.some(({ match }) => {
    const { payload, meta, ct } = match?.left ?? {};
    if (ct !== undefined) return true;
    if (meta?.key === 'iifname' || meta?.key === 'iif') return includes(match?.right, 'lo');
    if (payload?.field === 'dport' || payload?.field === 'sport')
      return !(payload.protocol === 'udp' && includes(match?.right, outer.port ?? -1));
    const isProtocol =
      meta?.key === 'l4proto' || payload?.field === 'protocol' || payload?.field === 'nexthdr' || payload?.field === 'type';
    return isProtocol && !outer.protocols.some((name) => includes(match?.right, name));
  });
}

function judgeNft(entries: readonly RulesetEntry[], outer: Outer): Found[] {
  return entries.flatMap(({ chain }): Found[] => {
    if (chain === undefined || (chain.hook !== 'input' && chain.hook !== 'prerouting')) return [];
    if (!(FAMILIES[chain.family] ?? []).includes(outer.family)) return [];
    const { family, table, name } = chain;
    const rules = entries.flatMap(({ rule }) =>
      rule !== undefined && rule.family === family && rule.table === table ? [rule] : [],
    );
    const own = rules.filter((rule) => rule.chain === name);
    for (const { expr, handle } of own) {
      const judgement = concerns(expr, outer);
      if (judgement === 'others') continue;
      if (accepts(expr)) return [];
      if (!drops(expr)) continue;
      return [
        {
          id: 'tunnel-dropped',
          level: 'error',
          text: `a rule of the firewall drops tunnel packets (${outer.text}): chain ${name} in table ${family} ${table}, handle ${handle}`,
          fix: `nft delete rule ${family} ${table} ${name} handle ${handle}`,
        },
      ];
    }
    if (chain.policy !== 'drop' || own.some(({ expr }) => mayAccept(expr, outer))) return [];
    const condition = outer.port === null ? `meta l4proto ${outer.protocols.at(-1)}` : `udp dport ${outer.port}`;
    return [
      {
        id: 'input-policy',
        level: 'error',
        text: `the firewall drops what no rule accepts (chain ${name} in table ${family} ${table}), and no rule accepts tunnel packets (${outer.text})`,
        fix: `nft insert rule ${family} ${table} ${name} ${condition} accept`,
      },
    ];
  });
}

/** What `iptables-save` prints, of the family that it is asked for: rules of INPUT in the order in which they count. */
function judgeIptables(saved: string, outer: Outer): Found[] {
  if (outer.family !== 4) return [];
  const condition = outer.port === null ? `-p ${outer.protocols.at(-1)}` : `-p udp --dport ${outer.port}`;
  const ours = (line: string) => {
    if (/ -s | -i | -m (conntrack|state|set) /.test(line)) return false;
    if (outer.port === null) return outer.protocols.some((name) => line.includes(` -p ${name} `));
    return line.includes(' -p udp ') && line.includes(` --dport ${outer.port} `);
  };
  const rules = saved.split('\n').filter((line) => line.startsWith('-A INPUT '));
  for (const line of rules) {
    if (!ours(line)) continue;
    if (/ -j ACCEPT\b/.test(line)) return [];
    if (!/ -j (DROP|REJECT)\b/.test(line)) continue;
    return [
      {
        id: 'tunnel-dropped',
        level: 'error',
        text: `a rule of the firewall drops tunnel packets (${outer.text}): ${line}`,
        fix: `iptables ${line.replace(/^-A/, '-D')}`,
      },
    ];
  }
  // A jump, or an accept by source or interface, may let them in.
  const unclear = rules.some(
    (line) =>
      (/ -j ACCEPT\b/.test(line) && !/--dport|--ctstate|--state|-i lo\b|-p icmp/.test(line)) ||
      !/ -j (ACCEPT|DROP|REJECT|LOG)\b/.test(line),
  );
  if (!/^:INPUT DROP\b/m.test(saved) || unclear) return [];
  return [
    {
      id: 'input-policy',
      level: 'error',
      text: `the firewall drops what no rule accepts (iptables, chain INPUT), and no rule accepts tunnel packets (${outer.text})`,
      fix: `iptables -I INPUT ${condition} -j ACCEPT`,
    },
  ];
}
