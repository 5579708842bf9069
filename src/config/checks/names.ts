/** Names: each is defined once, and what is referred to exists. */
import type { Draft } from '../draft.ts';
import { didYouMean } from '../nearest-word.ts';
import type { Report } from './index.ts';

export function checkNames(draft: Draft, report: Report): void {
  const services = new Map<string, number>();
  for (const { at, value } of draft.services) {
    const first = services.get(value.name);
    if (first === undefined) services.set(value.name, at[1] as number);
    else report([...at, 'name'], 'GD_CONFIG_DUPLICATE_NAME', `services[${first}] has the name "${value.name}" already`);
  }
  for (const pool of draft.pools) {
    const backends = new Map<string, string>();
    for (const { at, value, file } of pool.backends) {
      const first = backends.get(value.name);
      if (first === undefined) backends.set(value.name, file === undefined ? `backends[${at[3]}]` : `a backend in ${file}`);
      else report([...at, 'name'], 'GD_CONFIG_DUPLICATE_NAME', `${first} of this pool has the name "${value.name}" already`);
    }
  }
  checkReferences(draft, report);
}

function checkReferences(draft: Draft, report: Report): void {
  const pools = new Set(draft.pools.map((pool) => pool.name));
  const used = new Set<string>();
  let allKnown = draft.poolsKnown;
  for (const { at, value } of draft.services) {
    used.add(value.pool);
    if (!draft.poolsKnown || pools.has(value.pool)) continue;
    const known =
      pools.size === 0 ? '' : didYouMean(value.pool, pools) || `; the pools are ${[...pools].slice(0, 10).join(', ')}`;
    allKnown = false;
    report([...at, 'pool'], 'GD_CONFIG_UNKNOWN_POOL', `there is no pool "${value.pool}"${known}`);
  }
  // A misspelt reference is one problem, not also an unused pool.
  if (!draft.servicesComplete || !allKnown) return;
  for (const pool of draft.pools) {
    if (!used.has(pool.name)) report(pool.at, 'GD_CONFIG_UNUSED_POOL', 'no service uses this pool', 'warning');
  }
}
