/** What the host must provide for a configuration, in the host's own words. */
import type { Config } from '../config/config.ts';
import type { Wanted } from '../host/wanted.ts';
import type { Spec, TunnelSpec } from '../pipeline/spec.ts';
import { mostOverheadOf, outerPorts, outerProtocols } from '../pipeline/tunnel-kind.ts';

const UDP = 17;

/** `spec` is the configuration's own, or one made of it (tunnel sources filled in). */
export function wantedOf(config: Config, spec: Spec): Wanted {
  const { egress } = config;
  const tunnels = spec.pools.flatMap(({ tunnel, backends }): TunnelSpec[] => [
    tunnel,
    ...backends.flatMap((backend) => (backend.tunnel === undefined ? [] : [backend.tunnel])),
  ]);
  // A prefix that flows are spread over is no address of this host, and need not be.
  const sources = tunnels
    .flatMap((tunnel) => [tunnel.spread4 ? null : tunnel.source4, tunnel.spread6 ? null : tunnel.source6])
    .filter((source) => source !== null);
  return {
    ingress: config.ingress,
    services: spec.services,
    backends: spec.pools.flatMap((pool) =>
      pool.backends.map(({ name, address, tunnel = pool.tunnel }) => ({
        pool: pool.name,
        name,
        address,
        overhead: mostOverheadOf(tunnel, address.length),
      })),
    ),
    tunnelSources: [...new Map(sources.map((source) => [source.join('.'), source])).values()],
    tunnelPorts: [...new Set(tunnels.flatMap(outerPorts))],
    tunnelProtocols: [...new Set(tunnels.flatMap(({ encapsulation }) => outerProtocols(encapsulation)))].filter((n) => n !== UDP),
    egressDevice: egress.driver === 'tap-offload' ? egress.device : null,
    egressInterface: 'interface' in egress ? egress.interface : null,
    egressQueues: egress.driver === 'xdp',
    udpSourcePorts:
      egress.driver === 'auto' || egress.driver === 'udp' ? { base: egress.sourcePortBase, count: egress.sourcePorts } : null,
  };
}
