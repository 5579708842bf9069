/** Checks of the packet filter: a forward chain that drops by default stops services on their way to our device, and tunnels on theirs out of it. */
import type { Finding } from './finding.ts';
import { findProgram, runProgram } from './notrack.ts';
import { routedDevice, type Wanted } from './wanted.ts';

/** What `nft -j list ruleset` prints, as far as it is read here. */
interface RulesetEntry {
  readonly chain?: { family: string; table: string; name: string; hook?: string; policy?: string };
  readonly rule?: { family: string; table: string; chain: string; expr: Record<string, unknown>[] };
}

/** Ids of every finding here. */
export const FIREWALL_FINDINGS: readonly string[] = ['forward-policy', 'firewall-unknown'];

/** Our device is where forwarded packets leave by (services on their way to us), or where they come in by (egress `tap-offload`). */
export type Direction = 'out' | 'in';

const NFT_KEY = { out: 'oifname', in: 'iifname' } as const;
const IPTABLES_FLAG = { out: '-o', in: '-i' } as const;
const TEXT = { out: 'what leaves by', in: 'what comes in by' } as const;

const FAMILIES: Readonly<Record<string, readonly number[]>> = { ip: [4], ip6: [16], inet: [4, 16] };

/** True when the rule accepts what leaves (or comes in) by `device`, whatever else it demands. */
function acceptsDevice(expressions: Record<string, unknown>[], device: string, key: string): boolean {
  const matches = expressions.some((expression) => {
    const match = expression.match as { left?: { meta?: { key?: string } }; op?: string; right?: unknown } | undefined;
    return match?.left?.meta?.key === key && match.op === '==' && match.right === device;
  });
  return matches && expressions.some((expression) => 'accept' in expression);
}

/** Findings about a ruleset in nft's JSON. `lengths`: address lengths of what is forwarded, 4 and 16. */
export function judgeRuleset(
  json: string,
  device: string,
  lengths: ReadonlySet<number>,
  direction: Direction = 'out',
): Finding[] {
  const entries = (JSON.parse(json) as { nftables: RulesetEntry[] }).nftables;
  return entries.flatMap(({ chain }): Finding[] => {
    if (chain === undefined || chain.hook !== 'forward' || chain.policy !== 'drop') return [];
    if (!(FAMILIES[chain.family] ?? []).some((length) => lengths.has(length))) return [];
    const same = (rule: RulesetEntry['rule']) =>
      rule !== undefined && rule.family === chain.family && rule.table === chain.table && rule.chain === chain.name;
    if (entries.some(({ rule }) => rule !== undefined && same(rule) && acceptsDevice(rule.expr, device, NFT_KEY[direction])))
      return [];
    return [
      {
        id: 'forward-policy',
        level: 'warning',
        text: `the firewall drops forwarded packets unless a rule accepts them (chain ${chain.name} in table ${chain.family} ${chain.table}), and no rule accepts ${TEXT[direction]} ${device}`,
        fix: `nft insert rule ${chain.family} ${chain.table} ${chain.name} ${NFT_KEY[direction]} "${device}" accept`,
      },
    ];
  });
}

/** Findings about what `iptables-save` prints. `command` is iptables or ip6tables. */
export function judgeIptables(saved: string, device: string, command: string, direction: Direction = 'out'): Finding[] {
  const flag = IPTABLES_FLAG[direction];
  if (!/^:FORWARD DROP\b/m.test(saved)) return [];
  const rules = saved.split('\n').filter((line) => line.startsWith('-A FORWARD '));
  if (rules.some((line) => line.includes(` ${flag} ${device} `) && line.endsWith('-j ACCEPT'))) return [];
  return [
    {
      id: 'forward-policy',
      level: 'warning',
      text: `the firewall drops forwarded packets unless a rule accepts them (${command}, chain FORWARD), and no rule accepts ${TEXT[direction]} ${device}`,
      fix: `${command} -I FORWARD ${flag} ${device} -j ACCEPT`,
    },
  ];
}

function unknown(reason: string): Finding {
  return {
    id: 'firewall-unknown',
    level: 'info',
    text: `whether the firewall forwards services' packets is not known: ${reason}`,
    fix: '',
  };
}

/** One way of forwarded packets that a firewall may close. */
interface Way {
  readonly device: string;
  readonly direction: Direction;
  readonly lengths: ReadonlySet<number>;
}

export function checkFirewall(wanted: Wanted): Finding[] {
  const device = routedDevice(wanted.ingress);
  const ways: Way[] = [];
  if (device !== null) {
    ways.push({ device, direction: 'out', lengths: new Set(wanted.services.map(({ prefix }) => prefix.bytes.length)) });
  }
  if (wanted.egressDevice !== null) {
    const lengths = new Set(wanted.backends.map(({ address }) => address.length));
    ways.push({ device: wanted.egressDevice, direction: 'in', lengths });
  }
  if (ways.length === 0) return [];
  const nft = findProgram('nft');
  if (nft !== null) {
    const result = runProgram(nft, ['-j', 'list', 'ruleset']);
    if (result.status !== 0) return [unknown(`nft: ${result.complaint}`)];
    return ways.flatMap((way) => judgeRuleset(result.output, way.device, way.lengths, way.direction));
  }
  const findings: Finding[] = [];
  const tools = [
    ['iptables', 4],
    ['ip6tables', 16],
  ] as const;
  for (const [command, length] of tools) {
    const concerned = ways.filter(({ lengths }) => lengths.has(length));
    if (concerned.length === 0) continue;
    const save = findProgram(`${command}-save`);
    if (save === null) return [unknown('neither nft nor iptables-save is installed')];
    const result = runProgram(save, []);
    if (result.status !== 0) return [unknown(`${command}-save: ${result.complaint}`)];
    findings.push(...concerned.flatMap((way) => judgeIptables(result.output, way.device, command, way.direction)));
  }
  return findings;
}
