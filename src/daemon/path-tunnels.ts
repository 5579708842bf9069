/** The tunnels to all backends, as the keeper of path MTUs wants them: worked out again for pools that are another object, and told only when one of them is another. */
import { formatAddress } from '../base/address.ts';
import type { PathMtuTunnel } from '../host/path-mtu-watch.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';
import { RULE_PORTS } from '../pipeline/source-port.ts';
import { DEFAULT_HEADERS, type PoolSpec, type Spec } from '../pipeline/spec.ts';
import { tunnelSource } from '../pipeline/tunnel-ends.ts';
import { mostOverheadOf, outerPorts, outerProtocols } from '../pipeline/tunnel-kind.ts';

interface Known {
  readonly pool: PoolSpec;
  readonly tunnels: readonly PathMtuTunnel[];
}

export class PathTunnels {
  #known = new Map<string, Known>();
  /** What was worked out last is not known yet to whoever asked. */
  #isNew = true;

  /** All tunnels of a published spec; null when they are what they were at the last call before `known`. */
  of(spec: Spec, names: SnapshotNames): PathMtuTunnel[] | null {
    const before = this.#known;
    const changed = spec.pools.filter((pool) => before.get(pool.name)?.pool !== pool);
    const ids = changed.length === 0 ? new Map() : idsOf(new Set(changed.map(({ name }) => name)), names);
    const next = new Map<string, Known>();
    for (const pool of spec.pools) {
      const known = before.get(pool.name);
      if (known?.pool === pool) {
        next.set(pool.name, known);
        continue;
      }
      const tunnels = tunnelsOf(pool, ids.get(pool.name) ?? new Map());
      const isSame = known !== undefined && JSON.stringify(known.tunnels) === JSON.stringify(tunnels);
      if (!isSame) this.#isNew = true;
      next.set(pool.name, { pool, tunnels: isSame ? known.tunnels : tunnels });
    }
    if (before.size !== next.size) this.#isNew = true;
    this.#known = next;
    return this.#isNew ? [...next.values()].flatMap(({ tunnels }) => tunnels) : null;
  }

  /** What `of` said has been taken. Until then it is said again. */
  known(): void {
    this.#isNew = false;
  }
}

/** Ids by name and address of the backends of some pools, by pool. */
function idsOf(pools: ReadonlySet<string>, { backends }: SnapshotNames): Map<string, Map<string, number>> {
  const ids = new Map<string, Map<string, number>>();
  let last = '';
  let into: Map<string, number> | null = null;
  for (const { pool, name, address, id } of backends) {
    // Backends of a pool stand together.
    if (pool !== last) {
      last = pool;
      into = pools.has(pool) ? (ids.get(pool) ?? new Map()) : null;
      if (into !== null) ids.set(pool, into);
    }
    into?.set(`${name} ${address}`, id);
  }
  return ids;
}

function tunnelsOf(pool: PoolSpec, ids: ReadonlyMap<string, number>): PathMtuTunnel[] {
  return pool.backends.flatMap((backend): PathMtuTunnel[] => {
    const { name, address, tunnel = pool.tunnel } = backend;
    const id = ids.get(`${name} ${formatAddress(address)}`);
    const { address: source, spread: sourceSpread } = tunnelSource(pool, backend);
    if (id === undefined || source === null) return [];
    const overhead = mostOverheadOf(tunnel, address.length);
    const [ports, protocols] = [outerPorts(tunnel), outerProtocols(tunnel.encapsulation)];
    const sourcePorts = RULE_PORTS[(tunnel.headers ?? DEFAULT_HEADERS).sourcePort];
    const way = { source, sourceSpread, ports, protocols, ...(sourcePorts === null ? {} : { sourcePorts }) };
    return [{ id, pool: pool.name, name, address, overhead, ...way }];
  });
}
