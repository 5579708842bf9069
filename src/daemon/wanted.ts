/** What the host must provide for a configuration, in the host's own words. */
import type { Config } from '../config/config.ts';
import type { Wanted } from '../host/wanted.ts';
import type { Spec } from '../pipeline/spec.ts';

/** Outer IP, UDP and GUE headers in front of the inner packet. */
const OVERHEAD = { 4: 20 + 8 + 4, 16: 40 + 8 + 4 } as const;

/** `spec` is the configuration's own, or one made of it (tunnel sources filled in). */
export function wantedOf(config: Config, spec: Spec): Wanted {
  const { egress } = config;
  // A prefix that flows are spread over is no address of this host, and need not be.
  const sources = spec.pools
    .flatMap(({ tunnel }) => [tunnel.spread4 ? null : tunnel.source4, tunnel.spread6 ? null : tunnel.source6])
    .filter((source) => source !== null);
  return {
    ingress: config.ingress,
    services: spec.services,
    backends: spec.pools.flatMap((pool) =>
      pool.backends.map(({ name, address }) => ({
        pool: pool.name,
        name,
        address,
        overhead: OVERHEAD[address.length as 4 | 16],
      })),
    ),
    tunnelSources: [...new Map(sources.map((source) => [source.join('.'), source])).values()],
    tunnelPorts: [...new Set(spec.pools.map((pool) => pool.tunnel.port))],
    egressDevice: egress.driver === 'tap-offload' ? egress.device : null,
    udpSourcePorts:
      egress.driver === 'auto' || egress.driver === 'udp' ? { base: egress.sourcePortBase, count: egress.sourcePorts } : null,
  };
}
