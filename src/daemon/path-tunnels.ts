/** The tunnels to all backends, as the keeper of path MTUs wants them: worked out again for pools that are another object, and told only when one of them is another. */
import type { PathMtuTunnel } from '../host/path-mtu-watch.ts';
import { backendNumbers, type SnapshotNames } from '../pipeline/snapshot.ts';
import { RULE_PORTS } from '../pipeline/source-port.ts';
import { DEFAULT_HEADERS, type PoolSpec, type Spec, type TunnelSpec } from '../pipeline/spec.ts';
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
    const numbers = changed.length === 0 ? null : backendNumbers(names);
    const next = new Map<string, Known>();
    for (const pool of spec.pools) {
      const known = before.get(pool.name);
      if (known?.pool === pool) {
        next.set(pool.name, known);
        continue;
      }
      const tunnels = tunnelsOf(pool, numbers?.(pool) ?? NOBODY);
      const isSame = known !== undefined && JSON.stringify(known.tunnels) === JSON.stringify(tunnels);
      if (!isSame) this.#isNew = true;
      next.set(pool.name, { pool, tunnels: isSame ? known.tunnels : tunnels });
    }
    if (before.size !== next.size) this.#isNew = true;
    this.#known = next;
    if (!this.#isNew) return null;
    const all: PathMtuTunnel[] = [];
    for (const { tunnels } of next.values()) for (const tunnel of tunnels) all.push(tunnel);
    return all;
  }

  /** What `of` said has been taken. Until then it is said again. */
  known(): void {
    this.#isNew = false;
  }
}

const NOBODY = new Int32Array(0);

/** `ids`: of the pool's backends, in order. */
function tunnelsOf(pool: PoolSpec, ids: Int32Array): PathMtuTunnel[] {
  const common = waysOf();
  const tunnels: PathMtuTunnel[] = [];
  for (let i = 0; i < pool.backends.length; i++) {
    const backend = pool.backends[i];
    const { name, address, tunnel = pool.tunnel } = backend;
    const id: number | undefined = ids[i];
    const { address: source, spread: sourceSpread } = tunnelSource(pool, backend);
    if (id === undefined || source === null) continue;
    const { ports, protocols, sourcePorts } = common(tunnel);
    const way = { id, pool: pool.name, name, address, overhead: mostOverheadOf(tunnel, address.length), source, sourceSpread };
    tunnels.push(sourcePorts === undefined ? { ...way, ports, protocols } : { ...way, ports, protocols, sourcePorts });
  }
  return tunnels;
}

type Way = Pick<PathMtuTunnel, 'ports' | 'protocols' | 'sourcePorts'>;

/** What a tunnel says of its ways, worked out once while the same tunnel is asked for. */
function waysOf(): (tunnel: TunnelSpec) => Way {
  let known: TunnelSpec | null = null;
  let way: Way = { ports: [], protocols: [] };
  return (tunnel) => {
    if (tunnel === known) return way;
    const sourcePorts = RULE_PORTS[(tunnel.headers ?? DEFAULT_HEADERS).sourcePort];
    const [ports, protocols] = [outerPorts(tunnel), outerProtocols(tunnel.encapsulation)];
    way = { ports, protocols, ...(sourcePorts === null ? {} : { sourcePorts }) };
    known = tunnel;
    return way;
  };
}
