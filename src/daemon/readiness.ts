/**
 * Who may be sent traffic: the director as a whole, and each service by itself. One pool without a backend is no fault of the others' services, so it
 * makes only its own not ready; the director is not ready when nothing may be sent to it, whatever the service. Pure.
 *
 *     director ready = nothing speaks against all of it, and some service is ready
 *     service ready  = nothing speaks against the director, nor against the service's pool
 */
import type { Condition } from '../admin/server.ts';

/** What speaks against sending packets here. */
export interface ReadinessFacts {
  /** Whatever the service: one sentence each. */
  readonly director: readonly string[];
  /** For services of one pool. */
  readonly pools: readonly { readonly pool: string; readonly reason: string }[];
  readonly services: readonly { readonly name: string; readonly pool: string }[];
  /** `slots`: of the pool's lookup table; without any a backend gets no new flow. */
  readonly backends: readonly { readonly pool: string; readonly slots: number }[];
}

export interface Readiness {
  readonly director: Condition;
  /** By name; in the order of `ReadinessFacts.services`. */
  readonly services: ReadonlyMap<string, Condition>;
}

export function readinessOf({ director, pools, services, backends }: ReadinessFacts): Readiness {
  const serving = new Set(backends.filter(({ slots }) => slots > 0).map(({ pool }) => pool));
  const against = new Map<string, string[]>();
  for (const { pool } of services) if (!serving.has(pool)) against.set(pool, [`pool ${pool} has no serving backend`]);
  for (const { pool, reason } of pools) against.set(pool, [...(against.get(pool) ?? []), reason]);
  const own = services.map(({ pool }) => against.get(pool) ?? []);
  // With no service left that could be served, there is nothing to send here.
  const nothing = own.length > 0 && own.every((reasons) => reasons.length > 0) ? [...new Set(own.flat())] : [];
  return {
    director: condition([...director, ...nothing]),
    services: new Map(services.map(({ name }, i) => [name, condition([...director, ...own[i]])])),
  };
}

function condition(reasons: readonly string[]): Condition {
  return { ok: reasons.length === 0, reasons };
}
