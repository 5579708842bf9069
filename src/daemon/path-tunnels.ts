/** The tunnels to all backends, as the keeper of path MTUs wants them: worked out again for pools that are another object, and told only when one of them is another. */
import { sameAddress } from '../base/address.ts';
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
  /** In the order of the spec. */
  #known: readonly Known[] = [];
  /** What was worked out last is not known yet to whoever asked. */
  #isNew = true;

  /** All tunnels of a published spec; null when they are what they were at the last call before `known`. */
  of(spec: Spec, names: SnapshotNames): PathMtuTunnel[] | null {
    const before = this.#known;
    const numbers = backendNumbers(names);
    const { pools } = spec;
    let next: Known[] | null = before.length === pools.length ? null : before.slice(0, pools.length);
    if (next !== null) this.#isNew = true;
    let byName: ReadonlyMap<string, Known> | null = null;
    for (let i = 0; i < pools.length; i++) {
      const pool = pools[i];
      const there: Known | undefined = before[i];
      if (there?.pool === pool) continue;
      // Mostly it is where it was.
      if (there?.pool.name !== pool.name) byName ??= new Map(before.map((one) => [one.pool.name, one]));
      const known = there?.pool.name === pool.name ? there : byName?.get(pool.name);
      const tunnels = known?.pool === pool ? known.tunnels : tunnelsOf(pool, numbers(pool) ?? NOBODY);
      const isSame = known !== undefined && areSame(known.tunnels, tunnels);
      if (!isSame) this.#isNew = true;
      next ??= before.slice();
      next[i] = { pool, tunnels: isSame ? known.tunnels : tunnels };
    }
    if (next !== null) this.#known = next;
    if (!this.#isNew) return null;
    const all: PathMtuTunnel[] = [];
    for (const { tunnels } of this.#known) for (const tunnel of tunnels) all.push(tunnel);
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
    const overhead = mostOverheadOf(tunnel, address.length);
    // Each written out: 200,000 of them, put together from parts, take half a second.
    tunnels.push(
      sourcePorts === undefined
        ? { id, pool: pool.name, name, address, overhead, source, sourceSpread, ports, protocols }
        : { id, pool: pool.name, name, address, overhead, source, sourceSpread, ports, protocols, sourcePorts },
    );
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

/** Of one pool. */
function areSame(a: readonly PathMtuTunnel[], b: readonly PathMtuTunnel[]): boolean {
  return a === b || (a.length === b.length && a.every((one, i) => isSame(one, b[i])));
}

function isSame(a: PathMtuTunnel, b: PathMtuTunnel): boolean {
  return (
    a.id === b.id &&
    a.name === b.name &&
    a.overhead === b.overhead &&
    a.sourceSpread === b.sourceSpread &&
    sameAddress(a.address, b.address) &&
    sameAddress(a.source, b.source) &&
    areEqual(a.ports, b.ports) &&
    areEqual(a.protocols, b.protocols) &&
    a.sourcePorts?.base === b.sourcePorts?.base &&
    a.sourcePorts?.count === b.sourcePorts?.count
  );
}

function areEqual(a: readonly number[], b: readonly number[]): boolean {
  return a === b || (a.length === b.length && a.every((one, i) => one === b[i]));
}
