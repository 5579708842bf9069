/** Pools: backends that differ, a table large enough for them, a source address for each family they use. */
import { isPrime } from '../../maglev-hash/index.ts';
import { parseHostAddress } from '../address.ts';
import type { Draft, DraftPool } from '../draft.ts';
import { nearestPrimes, primeAtLeast } from '../prime.ts';
import { MAX_TABLE_SIZE, MIN_TABLE_SIZE } from '../schema.ts';
import { DEFAULT_TABLE_SIZE, schemeName } from '../scheme.ts';
import type { Report } from './index.ts';

export function checkPools(draft: Draft, report: Report): void {
  for (const pool of draft.pools) {
    checkAddresses(pool, report);
    checkTable(pool, report);
    checkSources(pool, draft, report);
    if (pool.sourceless) report([...pool.at, 'backends'], 'GD_CONFIG_MISSING_KEY', 'the key "backends" is missing');
    const serving = pool.backends.some(({ value }) => value.state === 'active' && value.weight > 0);
    if (!serving && pool.complete && !pool.open && !pool.sourceless) {
      const why = pool.backends.length === 0 ? 'the pool has no backends' : 'every backend is draining, down or of weight 0';
      report([...pool.at, 'backends'], 'GD_CONFIG_NO_BACKEND', `${why}: new flows are dropped as no-backend`, 'warning');
    }
  }
}

function checkAddresses(pool: DraftPool, report: Report): void {
  const owners = new Map<string, string>();
  for (const { at, value } of pool.backends) {
    const key = parseHostAddress(value.address).value?.join() ?? '';
    const owner = owners.get(key);
    if (owner === undefined) owners.set(key, value.name);
    else {
      const message = `backend "${owner}" of this pool has the address ${value.address} already; to give it more, raise its weight`;
      report([...at, 'address'], 'GD_CONFIG_DUPLICATE_ADDRESS', message);
    }
  }
}

function checkTable(pool: DraftPool, report: Report): void {
  if (pool.frame === null) return;
  const name = schemeName(pool.frame.scheme);
  const size = pool.frame['table-size'] ?? DEFAULT_TABLE_SIZE[name];
  // IPVS's sizes are a list (schemes.ts), GLB's is fixed and no prime.
  if ((name === 'maglev' || name === 'katran') && !isPrime(size)) {
    const primes = nearestPrimes(size, MIN_TABLE_SIZE, MAX_TABLE_SIZE).join(' and ');
    report([...pool.at, 'table-size'], 'GD_CONFIG_TABLE_PRIME', `${size} is not a prime; the nearest are ${primes}`);
    return;
  }
  // A peer's size is the peer's business: GLB's is fixed, IPVS's and Katran's are what they were built with.
  if (name !== 'maglev') return;
  const count = pool.backends.length;
  if (size >= 100 * count) return;
  const better = primeAtLeast(100 * count, MAX_TABLE_SIZE);
  const at = [...pool.at, 'table-size'];
  if (size < count) {
    report(at, 'GD_CONFIG_TABLE_SMALL', `${size} slots for ${count} backends: some would get none; take ${better}`);
  } else if (size < better) {
    const message = `${size} slots for ${count} backends: shares differ by more than 1 %; take ${better}`;
    report(at, 'GD_CONFIG_TABLE_SMALL', message, 'warning');
  }
}

function checkSources(pool: DraftPool, draft: Draft, report: Report): void {
  if (pool.frame === null || draft.tunnel === null) return;
  const own = pool.frame.tunnel.source;
  for (const [family, mark] of [
    ['ipv4', '.'],
    ['ipv6', ':'],
  ] as const) {
    if (own?.[family] !== undefined || draft.tunnel.source[family] !== undefined) continue;
    const first = pool.backends.find(({ value }) => (value.address.includes(':') ? ':' : '.') === mark);
    if (first === undefined) continue;
    const name = family === 'ipv4' ? 'IPv4' : 'IPv6';
    const message = `an ${name} backend needs an outer source address: set tunnel.source.${family} to one of this host's`;
    report([...first.at, 'address'], 'GD_CONFIG_SOURCE_MISSING', message);
  }
}
