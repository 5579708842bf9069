/** Encapsulations: what can not be combined with a checksum mode, with a way out, or with the families of the services. */

import { listOf } from '../compile.ts';
import type { Draft, DraftPool } from '../draft.ts';
import type { Path } from '../problem.ts';
import type { TunnelSection } from '../schema.ts';
import type { Report } from './index.ts';

/** The keys of a tunnel that a backend may have of its own, and where each of them stands. */
interface Effective {
  readonly encapsulation: TunnelSection['encapsulation'];
  readonly port: number;
  readonly port6: number;
  readonly checksum: TunnelSection['checksum'];
  /** Where the nearest of these keys stands: the backend's, the pool's, or the defaults'. */
  at(...keys: Key[]): Path;
}

type Key = 'encapsulation' | 'port' | 'port-ipv6' | 'checksum';
type Level = { readonly at: Path; readonly keys: { readonly [K in Key]?: TunnelSection[K] | undefined } };

const WITHOUT_UDP: ReadonlySet<string> = new Set(['ipip', 'gre']);

export function checkEncapsulations(draft: Draft, report: Report): void {
  const said = new Set<string>();
  const once: Report = (path, code, message, severity) => {
    const key = `${path.join('.')} ${code}`;
    if (said.has(key)) return;
    said.add(key);
    report(path, code, message, severity);
  };
  for (const pool of draft.pools) {
    for (const tunnel of tunnelsOf(pool, draft)) {
      checkChecksum(tunnel, once);
      checkEgress(tunnel, draft, once);
      checkPorts(tunnel, pool, draft, once);
    }
  }
}

/** The tunnels that a pool's backends use; the pool's own when it has none. */
function tunnelsOf(pool: DraftPool, draft: Draft): Effective[] {
  if (pool.frame === null || draft.tunnel === null) return [];
  const levels: Level[] = [
    { at: [...pool.at, 'tunnel'], keys: pool.frame.tunnel },
    { at: ['tunnel'], keys: draft.tunnel },
  ];
  if (pool.backends.length === 0) return [effective(levels)];
  return pool.backends.map(({ at, value }) =>
    effective(value.tunnel === undefined ? levels : [{ at: [...at, 'tunnel'], keys: value.tunnel }, ...levels]),
  );
}

/** The nearest level counts, from the backend outwards. */
function effective(levels: readonly Level[]): Effective {
  const of = <K extends Key>(key: K) => levels.find(({ keys }) => keys[key] !== undefined)?.keys[key];
  const port = of('port')!;
  return {
    encapsulation: of('encapsulation')!,
    port,
    port6: of('port-ipv6') ?? port,
    checksum: of('checksum')!,
    at: (...keys) => {
      for (const level of levels) {
        const key = keys.find((one) => level.keys[one] !== undefined);
        if (key !== undefined) return [...level.at, key];
      }
      return [...levels[levels.length - 1].at, keys[0]];
    },
  };
}

function checkChecksum(tunnel: Effective, report: Report): void {
  const { encapsulation, checksum } = tunnel;
  if (checksum === 'remcsum' && encapsulation !== 'gue') {
    const message = `remcsum is an option of the GUE header, which ${encapsulation} has not; take gue, or checksum full`;
    report(tunnel.at('checksum', 'encapsulation'), 'GD_CONFIG_CHECKSUM_KIND', message);
  } else if (checksum === 'full' && encapsulation === 'ipip') {
    report(
      tunnel.at('checksum', 'encapsulation'),
      'GD_CONFIG_CHECKSUM_KIND',
      'IP in IP has no checksum to fill; take auto or none',
    );
  }
}

function checkEgress(tunnel: Effective, draft: Draft, report: Report): void {
  if (draft.egress?.driver !== 'udp' || !WITHOUT_UDP.has(tunnel.encapsulation)) return;
  const message = `${tunnel.encapsulation} has no UDP header, and "egress: { driver: udp }" sends nothing else; take egress auto or raw`;
  report(tunnel.at('encapsulation'), 'GD_CONFIG_EGRESS_KIND', message);
}

/** `ip fou add port N ipproto P`: one inner protocol for each port. */
function checkPorts(tunnel: Effective, pool: DraftPool, draft: Draft, report: Report): void {
  if (tunnel.encapsulation !== 'fou' || tunnel.port !== tunnel.port6) return;
  const addresses = draft.services.filter(({ value }) => value.pool === pool.name).flatMap(({ value }) => listOf(value.address));
  if (!addresses.some((text) => text.includes(':')) || !addresses.some((text) => !text.includes(':'))) return;
  const message = `the services of pool "${pool.name}" are IPv4 and IPv6, and a FOU port takes one of them; set port-ipv6 to another port than ${tunnel.port}`;
  report(tunnel.at('port-ipv6'), 'GD_CONFIG_FOU_PORT', message);
}
