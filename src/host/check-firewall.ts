/** Checks of the packet filter: a forward chain that drops by default stops services on their way to our device. */
import type { Finding } from './finding.ts';
import { findProgram, runProgram } from './notrack.ts';
import { routedDevice, type Wanted } from './wanted.ts';

/** What `nft -j list ruleset` prints, as far as it is read here. */
interface RulesetEntry {
  readonly chain?: { family: string; table: string; name: string; hook?: string; policy?: string };
  readonly rule?: { family: string; table: string; chain: string; expr: Record<string, unknown>[] };
}

const FAMILIES: Readonly<Record<string, readonly number[]>> = { ip: [4], ip6: [16], inet: [4, 16] };

/** True when the rule accepts what leaves by `device`, whatever else it demands. */
function acceptsDevice(expressions: Record<string, unknown>[], device: string): boolean {
  const matches = expressions.some((expression) => {
    const match = expression.match as { left?: { meta?: { key?: string } }; op?: string; right?: unknown } | undefined;
    return match?.left?.meta?.key === 'oifname' && match.op === '==' && match.right === device;
  });
  return matches && expressions.some((expression) => 'accept' in expression);
}

/** Findings about a ruleset in nft's JSON. `lengths`: address lengths of the services, 4 and 16. */
export function judgeRuleset(json: string, device: string, lengths: ReadonlySet<number>): Finding[] {
  const entries = (JSON.parse(json) as { nftables: RulesetEntry[] }).nftables;
  return entries.flatMap(({ chain }): Finding[] => {
    if (chain === undefined || chain.hook !== 'forward' || chain.policy !== 'drop') return [];
    if (!(FAMILIES[chain.family] ?? []).some((length) => lengths.has(length))) return [];
    const same = (rule: RulesetEntry['rule']) =>
      rule !== undefined && rule.family === chain.family && rule.table === chain.table && rule.chain === chain.name;
    if (entries.some(({ rule }) => rule !== undefined && same(rule) && acceptsDevice(rule.expr, device))) return [];
    return [
      {
        id: 'forward-policy',
        level: 'warning',
        text: `the firewall drops forwarded packets unless a rule accepts them (chain ${chain.name} in table ${chain.family} ${chain.table}), and no rule accepts what leaves by ${device}`,
        fix: `nft insert rule ${chain.family} ${chain.table} ${chain.name} oifname "${device}" accept`,
      },
    ];
  });
}

/** Findings about what `iptables-save` prints. `command` is iptables or ip6tables. */
export function judgeIptables(saved: string, device: string, command: string): Finding[] {
  if (!/^:FORWARD DROP\b/m.test(saved)) return [];
  const rules = saved.split('\n').filter((line) => line.startsWith('-A FORWARD '));
  if (rules.some((line) => line.includes(` -o ${device} `) && line.endsWith('-j ACCEPT'))) return [];
  return [
    {
      id: 'forward-policy',
      level: 'warning',
      text: `the firewall drops forwarded packets unless a rule accepts them (${command}, chain FORWARD), and no rule accepts what leaves by ${device}`,
      fix: `${command} -I FORWARD -o ${device} -j ACCEPT`,
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

export function checkFirewall(wanted: Wanted): Finding[] {
  const device = routedDevice(wanted.ingress);
  if (device === null) return [];
  const lengths = new Set(wanted.services.map(({ prefix }) => prefix.bytes.length));
  const nft = findProgram('nft');
  if (nft !== null) {
    const result = runProgram(nft, ['-j', 'list', 'ruleset']);
    return result.status === 0 ? judgeRuleset(result.output, device, lengths) : [unknown(`nft: ${result.complaint}`)];
  }
  const findings: Finding[] = [];
  const tools = [
    ['iptables', 4],
    ['ip6tables', 16],
  ] as const;
  for (const [command, length] of tools) {
    if (!lengths.has(length)) continue;
    const save = findProgram(`${command}-save`);
    if (save === null) return [unknown('neither nft nor iptables-save is installed')];
    const result = runProgram(save, []);
    if (result.status !== 0) return [unknown(`${command}-save: ${result.complaint}`)];
    findings.push(...judgeIptables(result.output, device, command));
  }
  return findings;
}
