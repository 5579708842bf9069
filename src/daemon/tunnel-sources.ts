/** Tunnel sources that the configuration leaves to the kernel: found out once, before the snapshot is built. */
import { formatAddress, sameAddress } from '../base/address.ts';
import type { PoolSpec, Spec } from '../pipeline/spec.ts';

export interface ResolvedSources {
  readonly spec: Spec;
  /** One sentence for every backend whose own route would choose another source than its pool uses. */
  readonly warnings: readonly string[];
}

/**
 * Fills in the missing sources of pools that need them: per pool and family the source of the route to its first backend. An address
 * chosen here stays until the next start or reload. `sourceFor` throws what is to be shown when there is no route.
 */
export function resolveTunnelSources(spec: Spec, sourceFor: (backend: Uint8Array) => Uint8Array): ResolvedSources {
  const warnings: string[] = [];
  const fill = (pool: PoolSpec, family: 4 | 16, configured: Uint8Array | null): Uint8Array | null => {
    if (configured !== null) return configured;
    let chosen: Uint8Array | null = null;
    for (const { name, address } of pool.backends.filter((backend) => backend.address.length === family)) {
      const source = sourceFor(address);
      chosen ??= source;
      if (sameAddress(source, chosen)) continue;
      warnings.push(
        `pool ${pool.name}: packets to ${name} would leave from ${formatAddress(source)}, but the pool uses ${formatAddress(chosen)}`,
      );
    }
    return chosen;
  };
  const pools = spec.pools.map((pool) => {
    // A backend's own tunnel differs in other things: the sources are the pool's.
    const sources = { source4: fill(pool, 4, pool.tunnel.source4), source6: fill(pool, 16, pool.tunnel.source6) };
    return {
      ...pool,
      tunnel: { ...pool.tunnel, ...sources },
      backends: pool.backends.map((backend) =>
        backend.tunnel === undefined ? backend : { ...backend, tunnel: { ...backend.tunnel, ...sources } },
      ),
    };
  });
  return { spec: { ...spec, pools }, warnings };
}
