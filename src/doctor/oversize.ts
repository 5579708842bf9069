/** What services do with packets that do not fit, said where the way to backends is too small for a client's full packet. */
import type { ServiceSpec } from '../pipeline/spec.ts';
import type { Found } from './finding.ts';

/** Policies that leave something to others, or lose it; with the rest of them nothing is lost (docs/oversize.md). */
const TELLS: Readonly<Record<string, (who: string) => string>> = {
  icmp: (who) =>
    `${who} answers larger packets with ICMP (oversize: icmp), and a client whose firewall drops that hangs; oversize: segment cuts them instead`,
  drop: (who) => `${who} drops larger packets (oversize: drop)`,
};

/** `found` with what becomes of larger packets in each `path-mtu`; with `drop` it is an error. */
export function withPolicies(found: readonly Found[], services: readonly Pick<ServiceSpec, 'name' | 'oversize'>[]): Found[] {
  const tells = Object.entries(TELLS).flatMap(([policy, tell]) => {
    const [first, ...others] = services.filter(({ oversize }) => oversize === policy);
    return first === undefined ? [] : [tell(`service ${first.name}${others.length === 0 ? '' : ` and ${others.length} more`}`)];
  });
  if (tells.length === 0) return [...found];
  const level = services.some(({ oversize }) => oversize === 'drop') ? 'error' : 'warning';
  return found.map((one) => (one.id === 'path-mtu' ? { ...one, level, text: `${one.text}; ${tells.join('; ')}` } : one));
}
