/** Our end of each tunnel: the outer source address toward a backend, and all of them together, by which our own packets are known again. */
import * as L from './layout.ts';
import { addressWords } from './service-index.ts';
import type { BackendSpec, PoolSpec, Spec, TunnelSpec } from './spec.ts';
import { outerPorts, outerProtocols } from './tunnel-kind.ts';

export interface TunnelSource {
  /** 4 or 16 bytes, as the backend's; null when nobody has said it. */
  readonly address: Uint8Array | null;
  /** Bits at its end, 0–32, that the flow fills in. */
  readonly spread: number;
}

/** The outer source toward a backend of a pool: what its route chose, or what its tunnel says. */
export function tunnelSource(pool: PoolSpec, backend: BackendSpec): TunnelSource {
  const tunnel = backend.tunnel ?? pool.tunnel;
  const isFour = backend.address.length === 4;
  if (isByRoute(pool, backend)) return { address: backend.source ?? null, spread: 0 };
  return isFour
    ? { address: tunnel.source4, spread: tunnel.spread4 ?? 0 }
    : { address: tunnel.source6, spread: tunnel.spread6 ?? 0 };
}

/** The backend's source is to be that of its own route. */
export function isByRoute({ tunnel }: PoolSpec, { address }: BackendSpec): boolean {
  return (address.length === 4 ? tunnel.byRoute4 : tunnel.byRoute6) === true;
}

/** The spec with the unspecified address for every source that is by route and not known: for whoever sends nothing. */
export function withUnknownSources(spec: Spec): Spec {
  const complete = (pool: PoolSpec, backend: BackendSpec): BackendSpec =>
    isByRoute(pool, backend) && backend.source === undefined
      ? { ...backend, source: new Uint8Array(backend.address.length) }
      : backend;
  return {
    ...spec,
    pools: spec.pools.map((pool) => ({ ...pool, backends: pool.backends.map((backend) => complete(pool, backend)) })),
  };
}

/** Bits of an address's last word that are not filled in by the flow: −1 when all are the address's. */
export function spreadMask(spread: number): number {
  return spread >= 32 ? 0 : -1 << spread;
}

/** Every tunnel source of ours with what it sends, each once, as words of the layout. */
export function tunnelEnds(pools: readonly PoolSpec[]): number[][] {
  const ends = new Map<string, number[]>();
  const add = (tunnel: TunnelSpec, { address, spread }: TunnelSource): void => {
    if (address === null) return;
    const ports = outerPorts(tunnel);
    for (const protocol of outerProtocols(tunnel.encapsulation)) {
      for (const port of ports.length === 0 ? [0] : ports) {
        const end = new Array<number>(L.TUNNEL_WORDS).fill(0);
        end[L.T_PORT] = port;
        end[L.T_FAMILY] = address.length === 4 ? 4 : 6;
        end[L.T_PROTOCOL] = protocol;
        end[L.T_MASK] = spreadMask(spread);
        addressWords(address).forEach((word, i) => {
          end[L.T_SOURCE + i] = word;
        });
        ends.set(end.join(), end);
      }
    }
  };
  for (const pool of pools) {
    const { tunnel } = pool;
    add(tunnel, { address: tunnel.source4, spread: tunnel.spread4 ?? 0 });
    add(tunnel, { address: tunnel.source6, spread: tunnel.spread6 ?? 0 });
    for (const backend of pool.backends) {
      // The pool's own are there.
      if (backend.tunnel !== undefined || isByRoute(pool, backend)) add(backend.tunnel ?? tunnel, tunnelSource(pool, backend));
    }
  }
  return [...ends.values()];
}
