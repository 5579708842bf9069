/**
 * Checks of the packet filter, as far as its rules tell: a rule that drops the tunnel's port or protocol, or that drops what no rule accepts. Rules that are restricted to some sources
 * are those of an operator who lets only directors in, and are not judged. A rule that is about more than the tunnel is never named for removal: what it keeps out, it shall keep out.
 */
import type { Found } from '../finding.ts';
import type { Ruleset, WorkerFacts } from './facts.ts';
import { type Outcome, walk } from './filter-walk.ts';
import { iptablesChains } from './iptables-rules.ts';
import { type NftChain, nftChains, type RulesetEntry } from './nft-rules.ts';
import { type Outer, outerOf } from './outer-packet.ts';
import type { WorkerWanted } from './wanted.ts';

const FAMILIES: Readonly<Record<string, readonly number[]>> = { ip: [4], ip6: [6], inet: [4, 6] };

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
  if (ruleset.kind === 'iptables') return dedupe(outers.flatMap((outer) => judgeIptables(ruleset, outer)));
  const entries = (JSON.parse(ruleset.json) as { nftables: RulesetEntry[] }).nftables;
  return dedupe(outers.flatMap((outer) => judgeNft(entries, outer)));
}

function dedupe(found: readonly Found[]): Found[] {
  return [...new Map(found.map((finding) => [finding.fix, finding])).values()];
}

/** A chain at which packets begin. */
interface Base {
  /** `chain input in table inet filter`. */
  readonly place: string;
  readonly dropsByPolicy: boolean;
  /** Commands: to let the packets in, and to see the rules. */
  readonly accept: string;
  readonly look: string;
}

function judge({ verdict, rule, some, mayAccept, mayDrop }: Outcome, base: Base, { text }: Outer): Found[] {
  const dropped = verdict === 'drop' || (verdict === 'through' && base.dropsByPolicy);
  if (dropped ? mayAccept : mayDrop) {
    return [
      {
        id: 'input-unknown',
        level: 'info',
        text: `whether the firewall drops tunnel packets (${text}) can not be told from its rules: ${base.place} leaves it to a map, a set, another chain or program`,
        fix: base.look,
      },
    ];
  }
  if (!dropped || some) return [];
  if (rule?.ours === true) {
    return [
      {
        id: 'tunnel-dropped',
        level: 'error',
        text: `a rule of the firewall drops tunnel packets (${text}): ${rule.place}`,
        fix: rule.removal ?? base.accept,
      },
    ];
  }
  const by = rule === null ? base.place : rule.place;
  return [
    {
      id: 'input-policy',
      level: 'error',
      text: `the firewall drops what no rule accepts (${by}), and no rule accepts tunnel packets (${text})`,
      fix: base.accept,
    },
  ];
}

/** firewalld writes its tables anew at each reload, and keeps other programs out of them where it owns them. */
function acceptNft({ family, table, name }: NftChain, condition: string, { port }: Outer): string {
  const insert = `nft insert rule ${family} ${table} ${name} ${condition} accept`;
  if (table !== 'firewalld' || port === null) return insert;
  return `${insert}   # until firewalld reloads; firewall-cmd --permanent --add-port=${port}/udp keeps it`;
}

function judgeNft(entries: readonly RulesetEntry[], outer: Outer): Found[] {
  return entries.flatMap(({ chain }): Found[] => {
    if (chain === undefined || (chain.hook !== 'input' && chain.hook !== 'prerouting')) return [];
    if (!(FAMILIES[chain.family] ?? []).includes(outer.family)) return [];
    const { family, table, name, policy } = chain;
    const condition = outer.port === null ? `meta l4proto ${outer.protocols.at(-1)}` : `udp dport ${outer.port}`;
    const base: Base = {
      place: `chain ${name} in table ${family} ${table}`,
      dropsByPolicy: policy === 'drop',
      accept: acceptNft(chain, condition, outer),
      look: `nft list table ${family} ${table}`,
    };
    return judge(walk(nftChains(entries, chain, outer), name), base, outer);
  });
}

function judgeIptables(ruleset: Ruleset & { readonly kind: 'iptables' }, outer: Outer): Found[] {
  const program = outer.family === 4 ? 'iptables' : 'ip6tables';
  const saved = outer.family === 4 ? ruleset.saved : ruleset.saved6;
  if (saved === null) {
    return [
      {
        id: 'input-unknown',
        level: 'info',
        text: 'whether a firewall drops tunnel packets over IPv6 is not known: neither nft nor ip6tables-save could be asked',
        fix: 'apt-get install nftables',
      },
    ];
  }
  const condition = outer.port === null ? `-p ${outer.protocols.at(-1)}` : `-p udp --dport ${outer.port}`;
  const base: Base = {
    place: `${program}, chain INPUT`,
    dropsByPolicy: /^:INPUT DROP\b/m.test(saved),
    accept: `${program} -I INPUT ${condition} -j ACCEPT`,
    look: `${program} -S`,
  };
  return judge(walk(iptablesChains(saved, outer), 'INPUT'), base, outer);
}
