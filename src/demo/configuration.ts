/** The configuration for the director of a lab: what an operator would write, with the lab's addresses. */
import type { Lab } from './lab/topology.ts';

export const WEB_PORT = 80;
export const TUNNEL_PORT = 6080;
export const METRICS = '127.0.0.1:6079';

export interface DirectorChoices {
  /** YAML of the `ingress` section. Default: TUN device gd0. */
  readonly ingress?: string;
  /** YAML of the `egress` section. Default: no such section, which is `auto`. */
  readonly egress?: string;
  /** Family of the tunnels for IPv4 and for IPv6 services. Default: the services' own. */
  readonly tunnel4?: 4 | 6;
  readonly tunnel6?: 4 | 6;
  /** `tunnel.checksum`. Default: auto. */
  readonly checksum?: 'auto' | 'none' | 'full';
  /** Of both services. Default: segment. */
  readonly oversize?: 'segment' | 'segment-and-tell' | 'icmp' | 'fragment-inner' | 'fragment-outer' | 'drop';
}

/** YAML text for the director of a lab: both virtual IPs, TCP port WEB_PORT, all workers. */
export function directorConfiguration(lab: Lab, choices: DirectorChoices = {}): string {
  const backends = (family: 4 | 6) =>
    lab.workers
      .map((worker) => `      - { name: ${worker.role}, address: "${family === 4 ? worker.address4 : worker.address6}" }`)
      .join('\n');
  const oversize = choices.oversize === undefined ? '' : `, oversize: ${choices.oversize}`;
  return `# Made by gue-director demo.
services:
  - { name: web-4, address: "${lab.vip4}", protocol: tcp, port: ${WEB_PORT}, pool: web-4${oversize} }
  - { name: web-6, address: "${lab.vip6}", protocol: tcp, port: ${WEB_PORT}, pool: web-6${oversize} }
pools:
  web-4:
    backends:
${backends(choices.tunnel4 ?? 4)}
  web-6:
    backends:
${backends(choices.tunnel6 ?? 6)}
tunnel:
  encapsulation: gue
  port: ${TUNNEL_PORT}
  source: { ipv4: "${lab.director.address4}", ipv6: "${lab.director.address6}" }
  checksum: ${choices.checksum ?? 'auto'}
ingress: ${choices.ingress ?? '{ driver: tun, device: gd0 }'}
${choices.egress === undefined ? '' : `egress: ${choices.egress}\n`}flows: { entries: 65536 }
metrics: { listen: "${METRICS}" }
log: { level: info, format: text }
`;
}
