/** The configuration that the demo gives its director: what an operator would write, with the lab's addresses. */
import type { Lab } from './lab/topology.ts';

export const WEB_PORT = 80;
export const TUNNEL_PORT = 6080;
export const METRICS = '127.0.0.1:6079';

/** YAML text. IPv4 traffic goes through IPv4 tunnels, IPv6 traffic through IPv6 tunnels, as kernels' routes in mixed networks do. */
export function demoConfiguration(lab: Lab): string {
  const backends = (address: (worker: Lab['workers'][number]) => string) =>
    lab.workers.map((worker) => `      - { name: ${worker.role}, address: "${address(worker)}" }`).join('\n');
  return `# Made by gue-director demo.
services:
  - { name: web-4, address: "${lab.vip4}", protocol: tcp, port: ${WEB_PORT}, pool: over-4 }
  - { name: web-6, address: "${lab.vip6}", protocol: tcp, port: ${WEB_PORT}, pool: over-6 }
pools:
  over-4:
    backends:
${backends((worker) => worker.address4)}
  over-6:
    backends:
${backends((worker) => worker.address6)}
tunnel:
  encapsulation: gue
  port: ${TUNNEL_PORT}
  source: { ipv4: "${lab.director.address4}", ipv6: "${lab.director.address6}" }
ingress: { driver: tun, device: gd0 }
egress: { driver: raw }
flows: { entries: 65536 }
metrics: { listen: "${METRICS}" }
log: { level: info, format: text }
`;
}
