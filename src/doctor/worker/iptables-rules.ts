/** Rules of iptables, as `iptables-save -t filter` and `ip6tables-save -t filter` print them, for one kind of outer packet. */
import { allOf, type Chains, type Fit, type Rule, type Verdict } from './filter-walk.ts';
import { fitsDestination, fitsPort, fitsSourcePort, fitsState, not, type Outer, type Range } from './outer-packet.ts';

/** Extensions whose options are read here, or that say nothing of the packet. */
const KNOWN = new Set(['tcp', 'udp', 'multiport', 'conntrack', 'state', 'comment']);
const GOES_ON = /^(LOG|NFLOG|ULOG|TRACE|MARK|CONNMARK|SECMARK|CONNSECMARK|CT|NOTRACK|AUDIT)$/;

/** Words, those in quotes as one. */
function split(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([, quoted, word]) => quoted ?? word);
}

/** `6080`, `6000:6100`, `53,6080`. */
function ranges(text: string): Range[] {
  return text.split(',').map((part) => {
    const [from, to = from] = part.split(':').map(Number);
    return [from, to];
  });
}

/** What one option with its value says of the packet; null: it is none of these. */
function fitsOption(option: string, value: string, outer: Outer): Fit | null {
  switch (option) {
    case '-p':
      return outer.protocols.some((name) => String(name) === value) ? 'yes' : 'no';
    case '-s':
      return 'some';
    case '-d':
      return fitsDestination(value);
    case '-i':
      return value === 'lo' ? 'no' : 'some';
    case '--dport':
    case '--dports':
      return fitsPort(ranges(value), outer);
    case '--sport':
    case '--sports':
      return fitsSourcePort(ranges(value), outer);
    case '--ctstate':
    case '--state':
      return fitsState(value.split(','));
    case '--ctstatus':
      return 'no';
    case '-m':
      return KNOWN.has(value) ? 'yes' : 'maybe';
    case '--comment':
      return 'yes';
    default:
      return null;
  }
}

function verdictOf(option: string, target: string, chains: ReadonlySet<string>): Verdict {
  if (option === '-g') return { kind: 'goto', chain: target };
  if (target === 'ACCEPT') return { kind: 'accept' };
  if (target === 'DROP' || target === 'REJECT') return { kind: 'drop' };
  if (target === 'RETURN') return { kind: 'return' };
  if (chains.has(target)) return { kind: 'jump', chain: target };
  return GOES_ON.test(target) ? { kind: 'none' } : { kind: 'opaque' };
}

function ruleOf(line: string, program: string, chains: ReadonlySet<string>, outer: Outer): Rule {
  const words = split(line).slice(2);
  const fits: Fit[] = [];
  let verdict: Verdict = { kind: 'none' };
  let ours = false;
  let exact = false;
  for (let i = 0; i < words.length; i++) {
    const negated = words[i] === '!';
    if (negated) i++;
    const option = words[i];
    const value = words[i + 1] ?? '';
    if (option === '-j' || option === '-g') {
      // What follows are the target's own options.
      verdict = verdictOf(option, value, chains);
      break;
    }
    const fit = fitsOption(option, value, outer);
    if (fit !== null) i++;
    fits.push(fit === null ? 'maybe' : negated ? not(fit) : fit);
    const names = outer.port === null ? option === '-p' : option === '--dport' || option === '--dports';
    if (names && fit === 'yes' && !negated) {
      ours = true;
      exact = outer.port === null || value === String(outer.port);
    }
  }
  return {
    fit: allOf(fits),
    verdict,
    ours,
    place: `${program}, ${line}`,
    removal: exact ? `${program} ${line.replace(/^-A/, '-D')}` : null,
  };
}

/** What `iptables-save` prints, of the family that it is asked for: the rules of each chain in the order in which they count. */
export function iptablesChains(saved: string, outer: Outer): Chains {
  const program = outer.family === 4 ? 'iptables' : 'ip6tables';
  const lines = saved.split('\n');
  const names = new Set(['INPUT', ...lines.flatMap((line) => /^:(\S+)/.exec(line)?.[1] ?? [])]);
  const chains = new Map<string, Rule[]>([...names].map((name) => [name, []]));
  for (const line of lines) {
    const name = /^-A (\S+)/.exec(line)?.[1];
    if (name !== undefined) chains.get(name)?.push(ruleOf(line.trimEnd(), program, names, outer));
  }
  return chains;
}
