/**
 * Tunnel sources that the configuration leaves to the kernel: found out before the snapshot is built; those that are by route (docs/headers.md)
 * again whenever routes change (source-keeper.ts).
 */
import { formatAddress, sameAddress } from '../base/address.ts';
import type { BackendSpec, PoolSpec, Spec } from '../pipeline/spec.ts';
import { isByRoute } from '../pipeline/tunnel-ends.ts';

/** The source of the route to a backend. Throws what is to be shown when there is none. */
export type SourceFor = (backend: Uint8Array) => Uint8Array;

export interface ResolvedSources {
  readonly spec: Spec;
  /** One sentence for every backend whose own route would choose another source than its pool uses. */
  readonly warnings: readonly string[];
}

/**
 * Fills in the missing sources of pools that need them: per pool and family the source of the route to its first backend. An address
 * chosen here stays until the next start or reload.
 */
export function resolveTunnelSources(spec: Spec, sourceFor: SourceFor): ResolvedSources {
  return resolve(spec, sourceFor, null);
}

/**
 * The same for a change of the layers alone: what `inForce`, a spec of the same configuration with its sources, has chosen stays, and only backends that
 * are not in it are asked for. That somebody else's route is gone keeps nobody from being drained.
 */
export function keepTunnelSources(spec: Spec, inForce: Spec, sourceFor: SourceFor): Spec {
  const before = inForce.pools;
  const from = keptFrom.get(inForce);
  let byName: ReadonlyMap<string, PoolSpec> | null = null;
  // Mostly a pool is where it was, and one of a thousand another.
  const pools = spec.pools.map((pool, i): PoolSpec | null => {
    const there: PoolSpec | undefined = before[i];
    if (there !== undefined && (from?.[i] === pool || resolvedFrom.get(there) === pool)) return there;
    if (there?.name === pool.name) return null;
    byName ??= new Map(before.map((one) => [one.name, one]));
    const known = byName.get(pool.name);
    return known !== undefined && resolvedFrom.get(known) === pool ? known : null;
  });
  const changed = spec.pools.filter((_, i) => pools[i] === null);
  let refused = false;
  const asked: SourceFor = (address) => {
    try {
      return sourceFor(address);
    } catch (error) {
      refused = true;
      throw error;
    }
  };
  let some: Spec | null = null;
  try {
    const names = new Set(changed.map(({ name }) => name));
    some = keepAll({ ...spec, pools: changed }, { ...inForce, pools: before.filter(({ name }) => names.has(name)) }, asked);
  } catch (error) {
    if (!refused) throw error;
  }
  // Whoever has no route may take the source of another pool's backend: then all are looked at.
  if (some === null || refused) return keepAll(spec, inForce, sourceFor);
  const made = new Map(some.pools.map((pool) => [pool.name, pool]));
  const kept = { ...spec, pools: spec.pools.map((pool, i) => pools[i] ?? made.get(pool.name) ?? pool) };
  keptFrom.set(kept, spec.pools);
  return kept;
}

/** The same without a look at what was resolved before. */
export function keepAll(spec: Spec, inForce: Spec, sourceFor: SourceFor): Spec {
  return resolve(withSourcesOf(spec, inForce), sourceFor, inForce).spec;
}

/** What a pool with its sources was made of: while that very object is wanted, its sources are what they were. */
const resolvedFrom = new WeakMap<PoolSpec, PoolSpec>();

/** The pools, in step, that a spec with its sources was made of: quicker to ask than pool by pool. */
const keptFrom = new WeakMap<Spec, readonly PoolSpec[]>();

function derived(from: PoolSpec, pool: PoolSpec): PoolSpec {
  if (pool !== from) resolvedFrom.set(pool, resolvedFrom.get(from) ?? from);
  return pool;
}

/** The same object when no backend is another. */
function withBackends(pool: PoolSpec, change: (backend: BackendSpec) => BackendSpec): PoolSpec {
  if (!isRouted(pool)) return pool;
  const backends = pool.backends.map(change);
  if (backends.every((backend, i) => backend === pool.backends[i])) return pool;
  return derived(pool, { ...pool, backends });
}

/** Backends that are by route, with the source that they have in `inForce`: one whose route is gone keeps it. */
export function withSourcesOf(spec: Spec, inForce: Spec): Spec {
  const pools = new Map(inForce.pools.map((pool) => [pool.name, pool]));
  const before = new Map(
    spec.pools.filter(isRouted).map(({ name }) => [name, new Map(pools.get(name)?.backends.map((one) => [one.name, one]))]),
  );
  const complete = (pool: PoolSpec, backend: BackendSpec): BackendSpec => {
    if (!isByRoute(pool, backend) || backend.source !== undefined) return backend;
    const known = before.get(pool.name)?.get(backend.name);
    if (known?.source === undefined || !sameAddress(known.address, backend.address)) return backend;
    return { ...backend, source: known.source };
  };
  return {
    ...spec,
    pools: spec.pools.map((pool) => withBackends(pool, (backend) => complete(pool, backend))),
  };
}

/** `kept`: what was chosen there is not asked for again; null: everything is. */
function resolve(spec: Spec, sourceFor: SourceFor, kept: Spec | null): ResolvedSources {
  const warnings: string[] = [];
  const keptPools = new Map(kept?.pools.map((pool) => [pool.name, pool]));
  const fill = (pool: PoolSpec, family: 4 | 16, configured: Uint8Array | null): Uint8Array | null => {
    if (configured !== null || (family === 4 ? pool.tunnel.byRoute4 : pool.tunnel.byRoute6) === true) return configured;
    const before = keptPools.get(pool.name)?.tunnel;
    const stays = family === 4 ? before?.source4 : before?.source6;
    if (stays !== undefined && stays !== null) return stays;
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
    return derived(pool, {
      ...pool,
      tunnel: { ...pool.tunnel, ...sources },
      backends: pool.backends.some(({ tunnel }) => tunnel !== undefined)
        ? pool.backends.map((backend) =>
            backend.tunnel === undefined ? backend : { ...backend, tunnel: { ...backend.tunnel, ...sources } },
          )
        : pool.backends,
    });
  });
  return { spec: routedSources({ ...spec, pools }, sourceFor, kept !== null).spec, warnings };
}

/** A backend whose source changed with its route. */
export interface SourceChange {
  readonly pool: string;
  readonly backend: string;
  /** Texts of addresses. */
  readonly from: string;
  readonly to: string;
}

/**
 * Gives every backend whose tunnel's source is by route the source that `sourceFor` says; the spec is the same object when nothing changed.
 * A backend without a route keeps the source it had, for its route may come back; one that had none takes that of another backend of its family
 * until then, so that one missing route does not keep the director from starting. Throws what `sourceFor` throws when there is no other either.
 * `newOnly`: only who has none yet is asked for.
 */
export function routedSources(
  spec: Spec,
  sourceFor: SourceFor,
  newOnly = false,
): { readonly spec: Spec; readonly changes: readonly SourceChange[] } {
  const changes: SourceChange[] = [];
  const known = new Map<number, Uint8Array>();
  const missing = new Map<number, unknown>();
  let given = false;
  const route = (pool: PoolSpec, backend: BackendSpec): BackendSpec => {
    if (!isByRoute(pool, backend)) return backend;
    let source: Uint8Array;
    const family = backend.address.length;
    if (newOnly && backend.source !== undefined) {
      if (!known.has(family)) known.set(family, backend.source);
      return backend;
    }
    try {
      source = sourceFor(backend.address);
    } catch (error) {
      if (backend.source === undefined) missing.set(family, error);
      return backend;
    }
    if (!known.has(family)) known.set(family, source);
    if (backend.source !== undefined) {
      if (sameAddress(source, backend.source)) return backend;
      const [from, to] = [formatAddress(backend.source), formatAddress(source)];
      changes.push({ pool: pool.name, backend: backend.name, from, to });
    }
    given = true;
    return { ...backend, source };
  };
  const borrow = (pool: PoolSpec, backend: BackendSpec): BackendSpec => {
    if (!isByRoute(pool, backend) || backend.source !== undefined) return backend;
    const source = known.get(backend.address.length);
    if (source === undefined) throw missing.get(backend.address.length);
    given = true;
    return { ...backend, source };
  };
  const each = (pools: readonly PoolSpec[], change: (pool: PoolSpec, backend: BackendSpec) => BackendSpec) =>
    pools.map((pool) => withBackends(pool, (backend) => change(pool, backend)));
  const routed = each(spec.pools, route);
  const pools = missing.size > 0 ? each(routed, borrow) : routed;
  return { spec: given ? { ...spec, pools } : spec, changes };
}

function isRouted({ tunnel }: PoolSpec): boolean {
  return tunnel.byRoute4 === true || tunnel.byRoute6 === true;
}

/** Some backend's source is by route. */
export function hasRoutedSources(spec: Spec): boolean {
  return spec.pools.some((pool) => isRouted(pool) && pool.backends.some((backend) => isByRoute(pool, backend)));
}
