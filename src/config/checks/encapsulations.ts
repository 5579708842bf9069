/** Encapsulations: what can not be combined with a checksum mode, a way out, the families of the services, or one port of a worker. */

import { parseAnyAddress } from '../address.ts';
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

export const WITHOUT_UDP: ReadonlySet<string> = new Set(['ipip', 'gre']);

export function checkEncapsulations(draft: Draft, report: Report): void {
  const said = new Set<string>();
  const once: Report = (path, code, message, severity) => {
    const key = `${path.join('.')} ${code}`;
    if (said.has(key)) return;
    said.add(key);
    report(path, code, message, severity);
  };
  for (const pool of draft.pools) {
    for (const { tunnel } of tunnelsOf(pool, draft)) {
      checkChecksum(tunnel, once);
      checkEgress(tunnel, draft, once);
      checkPorts(tunnel, pool, draft, once);
    }
  }
  checkWorkerPorts(draft, once);
  checkUnusedPorts(draft, once);
}

/** The tunnels that a pool's backends use, each with its backend's address; the pool's own when it has none. */
export function tunnelsOf(pool: DraftPool, draft: Draft): { readonly tunnel: Effective; readonly address: string | null }[] {
  if (pool.frame === null || draft.tunnel === null) return [];
  const levels: Level[] = [
    { at: [...pool.at, 'tunnel'], keys: pool.frame.tunnel },
    { at: ['tunnel'], keys: draft.tunnel },
  ];
  if (pool.backends.length === 0) return [{ tunnel: effective(levels), address: null }];
  return pool.backends.map(({ at, value }) => ({
    tunnel: effective(value.tunnel === undefined ? levels : [{ at: [...at, 'tunnel'], keys: value.tunnel }, ...levels]),
    address: value.address,
  }));
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
    const instead = encapsulation === 'ipip' ? 'none' : 'full';
    const message = `remcsum is an option of the GUE header, which ${encapsulation} has not; take gue, or checksum ${instead}`;
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
  const { ipv4, ipv6 } = familiesOf(pool, draft);
  if (!ipv4 || !ipv6) return;
  const message = `the services of pool "${pool.name}" are IPv4 and IPv6, and a FOU port takes one of them; set port-ipv6 to another port than ${tunnel.port}`;
  report(tunnel.at('port-ipv6', 'port', 'encapsulation'), 'GD_CONFIG_FOU_PORT', message);
}

/** Which families the services of a pool have: what its backends get inside. */
function familiesOf(pool: DraftPool, draft: Draft): { readonly ipv4: boolean; readonly ipv6: boolean } {
  const addresses = draft.services.filter(({ value }) => value.pool === pool.name).flatMap(({ value }) => listOf(value.address));
  return { ipv4: addresses.some((text) => !text.includes(':')), ipv6: addresses.some((text) => text.includes(':')) };
}

/** A worker in several pools: each of its ports can take GUE, or FOU of one family, whichever pool a packet comes from. */
function checkWorkerPorts(draft: Draft, report: Report): void {
  const taken = new Map<string, { readonly what: string; readonly pool: string }>();
  for (const pool of draft.pools) {
    for (const { tunnel, address } of tunnelsOf(pool, draft)) {
      const bytes = address === null ? null : parseAnyAddress(address).value;
      if (bytes === null) continue;
      for (const { what, port, keys } of listenersOf(tunnel, pool, draft)) {
        const place = `${bytes.join()} ${port}`;
        const first = taken.get(place);
        if (first === undefined) taken.set(place, { what, pool: pool.name });
        // Within one pool it is the two families of FOU, which checkPorts has named.
        if (first === undefined || first.what === what || first.pool === pool.name) continue;
        const message = `worker ${address} gets ${what} from pool "${pool.name}" and ${first.what} from pool "${first.pool}" on its UDP port ${port}, which can take one of them; give one pool another port`;
        report(tunnel.at(...keys), 'GD_CONFIG_FOU_PORT', message);
      }
    }
  }
}

interface Listener {
  readonly what: string;
  readonly port: number;
  /** That name the port, the first one first. */
  readonly keys: readonly Key[];
}

function listenersOf(tunnel: Effective, pool: DraftPool, draft: Draft): Listener[] {
  if (WITHOUT_UDP.has(tunnel.encapsulation)) return [];
  // `ip fou add port N gue` takes both variants and both families.
  if (tunnel.encapsulation !== 'fou') return [{ what: 'GUE', port: tunnel.port, keys: ['port', 'encapsulation'] }];
  const { ipv4, ipv6 } = familiesOf(pool, draft);
  const listeners: Listener[] = [];
  if (ipv4) listeners.push({ what: 'IPv4 in FOU', port: tunnel.port, keys: ['port', 'encapsulation'] });
  if (ipv6) listeners.push({ what: 'IPv6 in FOU', port: tunnel.port6, keys: ['port-ipv6', 'port', 'encapsulation'] });
  return listeners;
}

/** A port that stands beside the encapsulation which does not use it was meant for something. */
function checkUnusedPorts(draft: Draft, report: Report): void {
  for (const pool of draft.pools) {
    warnUnused([...pool.at, 'tunnel'], pool.frame?.tunnel, report);
    for (const { at, value } of pool.backends) warnUnused([...at, 'tunnel'], value.tunnel, report);
  }
  // A pool that could not be read may be the one that has it.
  if (!draft.poolsKnown || !draft.pools.every(({ frame, complete }) => frame !== null && complete)) return;
  const hasFou = draft.pools.some((pool) => tunnelsOf(pool, draft).some(({ tunnel }) => tunnel.encapsulation === 'fou'));
  if (draft.tunnel?.['port-ipv6'] !== undefined && !hasFou) {
    report(['tunnel', 'port-ipv6'], 'GD_CONFIG_PORT_UNUSED', `${ONLY_FOU}; no backend has it`, 'warning');
  }
}

const ONLY_FOU = 'only fou has a port for each inner family';

function warnUnused(at: Path, keys: Level['keys'] | undefined, report: Report): void {
  const kind = keys?.encapsulation;
  if (keys === undefined || kind === undefined) return;
  if (WITHOUT_UDP.has(kind) && keys.port !== undefined) {
    report([...at, 'port'], 'GD_CONFIG_PORT_UNUSED', `${kind} has no UDP port; remove this key`, 'warning');
  }
  if (kind !== 'fou' && keys['port-ipv6'] !== undefined) {
    report([...at, 'port-ipv6'], 'GD_CONFIG_PORT_UNUSED', `${ONLY_FOU}; remove this key`, 'warning');
  }
}
