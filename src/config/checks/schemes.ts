/** Pools whose table is a peer's: what that peer can not have, and what has no meaning there. */
import { GLB_MAX_BACKENDS, IPVS_TABLE_SIZES } from '../../maglev-hash/index.ts';
import { portsOf } from '../compile.ts';
import type { Draft, DraftPool } from '../draft.ts';
import { parsePorts } from '../port.ts';
import type { Path } from '../problem.ts';
import { schemeName } from '../scheme.ts';
import type { Report } from './index.ts';

export function checkSchemes(draft: Draft, report: Report): void {
  for (const pool of draft.pools) {
    if (pool.frame === null) continue;
    const name = schemeName(pool.frame.scheme);
    if (name === 'maglev') continue;
    if (pool.frame.seed !== 0) {
      const message = `a table of scheme ${name} has no seed but the peer's own; remove this key`;
      report([...pool.at, 'seed'], 'GD_CONFIG_SCHEME_SEED', message);
    }
    checkAffinities(pool, name, draft, report);
    if (name === 'ipvs-mh') checkIpvs(pool, draft, report);
    if (name === 'glb') checkGlb(pool, draft, report);
  }
}

/** What is hashed, the peer decides. */
function checkAffinities(pool: DraftPool, name: string, draft: Draft, report: Report): void {
  for (const { at, value } of draft.services) {
    if (value.pool !== pool.name || value.affinity === '5-tuple') continue;
    const message = `pool "${pool.name}" hashes packets as ${name} does, whatever is said here; remove this key`;
    report([...at, 'affinity'], 'GD_CONFIG_SCHEME_AFFINITY', message);
  }
}

function checkIpvs(pool: DraftPool, draft: Draft, report: Report): void {
  const { frame } = pool;
  if (frame === null) return;
  const size = frame['table-size'];
  if (size !== undefined && !IPVS_TABLE_SIZES.includes(size)) {
    const near = [IPVS_TABLE_SIZES.findLast((one) => one < size), IPVS_TABLE_SIZES.find((one) => one > size)];
    const named = near.filter((one) => one !== undefined).join(' and ');
    const message = `no kernel has an IPVS table of ${size} slots; the nearest that one has: ${named} (all: ${IPVS_TABLE_SIZES.join(', ')})`;
    report([...pool.at, 'table-size'], 'GD_CONFIG_SCHEME_SIZE', message);
  }
  const own = typeof frame.scheme === 'string' || frame.scheme.name !== 'ipvs-mh' ? undefined : frame.scheme['server-port'];
  if (own !== undefined || servicePort(pool.name, draft) !== null) return;
  const message =
    "the services of this pool have several ports, and an IPVS table depends on the real servers' one: set server-port of the scheme, or give each service its own pool";
  report([...pool.at, 'scheme'], 'GD_CONFIG_SCHEME_PORT', message);
}

/** The one port of all services of a pool (of all ports: 0), 0 when it has no service; null when there are several. */
export function servicePort(pool: string, draft: Draft): number | null {
  let found: number | null = null;
  for (const { value } of draft.services) {
    if (value.pool !== pool) continue;
    for (const port of portsOf(value)) {
      const range = parsePorts(port).value;
      if (range === null) continue;
      // IPVS has services of one port, and those of any, which is port 0.
      const isAll = range.from === 0 && range.to === 65535;
      if (range.from !== range.to && !isAll) return null;
      const one = isAll ? 0 : range.from;
      if (found !== null && found !== one) return null;
      found = one;
    }
  }
  return found ?? 0;
}

/** Its hops stand in a GUE header of variant 0, in the place of other options. */
function checkGlbTunnel(pool: DraftPool, draft: Draft, report: Report): void {
  if (pool.frame === null || draft.tunnel === null) return;
  const own = pool.frame.tunnel;
  const places: [Path, { encapsulation?: string | undefined; checksum?: string | undefined }][] = [
    [
      [...pool.at, 'scheme'],
      { encapsulation: own.encapsulation ?? draft.tunnel.encapsulation, checksum: own.checksum ?? draft.tunnel.checksum },
    ],
    ...pool.backends.map(({ at, value }): [Path, NonNullable<typeof value.tunnel>] => [[...at, 'tunnel'], value.tunnel ?? {}]),
  ];
  for (const [at, { encapsulation = 'gue', checksum = 'auto' }] of places) {
    if (encapsulation === 'gue' && checksum !== 'remcsum') continue;
    const message = 'scheme glb needs encapsulation gue, whose header names the next hops, and no checksum remcsum';
    report(at, 'GD_CONFIG_SCHEME_TUNNEL', message);
  }
}

function checkGlb(pool: DraftPool, draft: Draft, report: Report): void {
  checkGlbTunnel(pool, draft, report);
  if (pool.frame?.['backends-from'] !== undefined) {
    const message = 'GLB director has its rows and their states in its own file; list the backends here';
    report([...pool.at, 'backends-from'], 'GD_CONFIG_SCHEME_BACKENDS', message);
  }
  if (pool.frame?.['table-size'] !== undefined) {
    const message = 'a table of scheme glb always has 65536 rows; remove this key';
    report([...pool.at, 'table-size'], 'GD_CONFIG_SCHEME_SIZE', message);
  }
  if (pool.backends.length > GLB_MAX_BACKENDS) {
    const message = `GLB director takes at most ${GLB_MAX_BACKENDS} backends, not ${pool.backends.length}`;
    report([...pool.at, 'backends'], 'GD_CONFIG_SCHEME_BACKENDS', message);
  }
  for (const { at, value } of pool.backends) {
    if (value.address.includes(':')) {
      report([...at, 'address'], 'GD_CONFIG_SCHEME_BACKENDS', 'GLB director has IPv4 backends only');
    }
    if (value.weight > 1) {
      const message = 'GLB director knows no weights: 1, or 0 for its state inactive';
      report([...at, 'weight'], 'GD_CONFIG_SCHEME_BACKENDS', message);
    }
  }
}
