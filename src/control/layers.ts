/**
 * What is in force is the file's wish and what happened since, laid over it in layers. Each layer has one owner, who replaces it whole;
 * none changes another's, so that the order of events has no meaning:
 *
 *     file ─► discovered (backends from watched files) ─► drains (by hand, deadlines) ─► health ─► spec in force
 *
 * A later layer can only take away: what the file calls down or draining no layer makes active.
 */
import type { BackendSpec, BackendState, PoolSpec, Spec } from '../pipeline/spec.ts';

/** What names a backend across configurations: pool and name. Neither contains a slash (config/schema.ts). */
export function backendKey(pool: string, backend: string): string {
  return `${pool}/${backend}`;
}

function poolOfKey(key: string): string {
  return key.slice(0, key.indexOf('/'));
}

/** What health says of one backend. */
export interface HealthShare {
  /** false: as if the file said `down`, or `draining` with `keepsFlows`. */
  readonly serves: boolean;
  /** Absent: false. */
  readonly keepsFlows?: boolean;
  /** Part of its weight, 0–1, that it gets while it starts slowly; 1 otherwise. */
  readonly share: number;
}

export interface Layers {
  /** Further backends, by name of the pool. */
  readonly discovered: ReadonlyMap<string, readonly BackendSpec[]>;
  /** By backendKey: `draining`, and `down` when the deadline has passed. */
  readonly drains: ReadonlyMap<string, Exclude<BackendState, 'active'>>;
  /** By backendKey; who is missing serves in full. */
  readonly health: ReadonlyMap<string, HealthShare>;
}

export const NO_LAYERS: Layers = { discovered: new Map(), drains: new Map(), health: new Map() };

/** What the operator and watched files say of each backend's weight, by backendKey: in force it may be scaled for a slow start. */
export function configuredWeights(spec: Spec, { discovered }: Pick<Layers, 'discovered'>): ReadonlyMap<string, number> {
  return new Map(
    spec.pools.flatMap(({ name, backends }) =>
      [...backends, ...(discovered.get(name) ?? [])].map((one) => [backendKey(name, one.name), one.weight] as const),
    ),
  );
}

/** Weights of a pool in which somebody starts slowly are counted in this many parts. */
const PARTS = 100;
const MOST_WEIGHT = 65_535;
const RANK: Readonly<Record<BackendState, number>> = { active: 0, draining: 1, down: 2 };

/**
 * The file's spec with the layers over it. Pools that no layer touches are the same objects; one that a layer touches as it did a moment ago is the object that it was
 * then. By that whoever comes after knows what has changed.
 */
export function inForce(spec: Spec, layers: Layers): Spec {
  const touched = new Set(layers.discovered.keys());
  for (const layer of [layers.drains, layers.health]) for (const key of layer.keys()) touched.add(poolOfKey(key));
  const pools = spec.pools.map((pool) => (touched.has(pool.name) ? remembered(pool, poolInForce(pool, layers)) : pool));
  return { ...spec, pools };
}

/** Pools in force by those that they were made of: the last few, since one configuration is laid out with and without health. */
const lately = new WeakMap<PoolSpec, readonly PoolSpec[]>();
const MOST_REMEMBERED = 3;

/** The object that says the same, if there was one lately. */
function remembered(from: PoolSpec, made: PoolSpec): PoolSpec {
  if (made === from) return from;
  const before = lately.get(from) ?? [];
  const same = before.find((one) => saysSame(one, made));
  if (same !== undefined) return same;
  lately.set(from, [made, ...before].slice(0, MOST_REMEMBERED));
  return made;
}

/** Of pools made of one: they differ in their backends only. */
function saysSame(a: PoolSpec, b: PoolSpec): boolean {
  if (a.backends.length !== b.backends.length) return false;
  return a.backends.every((one, i) => {
    const { state, weight, ...rest } = b.backends[i];
    if (one === b.backends[i]) return true;
    if (one.state !== state || one.weight !== weight) return false;
    return Object.entries(rest).every(([key, value]) => one[key as keyof BackendSpec] === value);
  });
}

function poolInForce(pool: PoolSpec, { discovered, drains, health }: Layers): PoolSpec {
  const found = discovered.get(pool.name) ?? [];
  const all = found.length === 0 ? pool.backends : [...pool.backends, ...found];
  const shares = all.map((backend) => health.get(backendKey(pool.name, backend.name)));
  const starting = all.some((backend, i) => backend.weight > 0 && shares[i]?.serves === true && shares[i].share < 1);
  let touched = found.length > 0 || starting;
  // Weights are relative, so all grow alike where some are to shrink; the greatest still fits 16 bits.
  const parts = starting
    ? Math.max(1, Math.min(PARTS, Math.floor(MOST_WEIGHT / Math.max(...all.map(({ weight }) => weight)))))
    : 1;
  const backends = all.map((backend, i): BackendSpec => {
    const drained = drains.get(backendKey(pool.name, backend.name)) ?? 'active';
    const { serves = true, keepsFlows = false } = shares[i] ?? {};
    const healthy = serves ? 'active' : keepsFlows ? 'draining' : 'down';
    const states: readonly BackendState[] = [backend.state, drained, healthy];
    const state = states.reduce((worst, one) => (RANK[one] > RANK[worst] ? one : worst));
    const share = starting ? (shares[i]?.share ?? 1) : 1;
    const weight = backend.weight === 0 ? 0 : Math.max(1, Math.round(backend.weight * parts * share));
    if (state === backend.state && weight === backend.weight) return backend;
    touched = true;
    return { ...backend, state, weight };
  });
  return touched ? { ...pool, backends } : pool;
}
