/** The parts of a director's host, in the order of a packet's way. Findings that `run` makes too are explained in docs/host.md, the others in docs/doctor.md. */
import type { Area } from './finding.ts';

export const DIRECTOR_AREAS: readonly Area[] = [
  {
    id: 'director',
    checked: 'the running director: readiness, health, backends, drops',
    good: 'a director runs here, is ready, and nothing of its own account needs attention',
    ids: [
      'director-not-running',
      'director-not-ready',
      'director-other-file',
      'backend-down',
      'tunnel-refused',
      'drops',
      'kernel-losses',
    ],
  },
  {
    id: 'privileges',
    checked: 'capabilities of this process, /dev/net/tun',
    good: 'what drivers need is allowed',
    ids: ['capability-missing', 'tun-denied'],
  },
  {
    id: 'devices',
    checked: '/dev/net/tun, the interfaces that the configuration names',
    good: 'devices and interfaces of the configuration are there, or can be made',
    ids: ['tun-missing', 'device-name-taken', 'bridge-missing', 'interface-missing', 'interface-down'],
  },
  {
    id: 'kernel',
    checked:
      'Linux version, UDP_SEGMENT, queues of TUN devices; for xdp its parts, queues of the interface, locked memory; processors that threads are kept on',
    good: 'the kernel has what the configured drivers use',
    ids: [
      'kernel-old',
      'kernel-without-segmentation',
      'kernel-without-queues',
      'kernel-without-tunnel-offload',
      'processor-missing',
      'processors-few',
      'processors-busy',
      'kernel-without-xdp',
      'bpf-interpreted',
      'xdp-queues',
      'locked-memory',
    ],
  },
  {
    id: 'forwarding',
    checked: 'net.ipv4.ip_forward, net.ipv6.conf.all.forwarding, disable_ipv6',
    good: "the kernel passes services' packets on to the director",
    ids: ['ipv4-forwarding', 'ipv6-forwarding', 'ipv6-disabled'],
  },
  {
    id: 'reverse-path',
    checked: 'net.ipv4.conf.*.rp_filter',
    good: 'no reverse path filter drops clients behind another router',
    ids: ['reverse-path-filter', 'offload-reverse-path'],
  },
  {
    id: 'firewall',
    checked: 'forward chains of nftables or iptables',
    good: "no forward chain drops services' packets by default",
    ids: ['forward-policy', 'firewall-unknown'],
  },
  {
    id: 'conntrack',
    checked: 'nf_conntrack_count and nf_conntrack_max, whether nft is installed',
    good: 'connection tracking is not in the way',
    ids: ['conntrack-without-nft', 'conntrack-full', 'notrack-refused'],
  },
  {
    id: 'arrivals',
    checked: 'TCP and UDP checksums of packets of services that came in meanwhile',
    good: 'packets of services come in undamaged',
    ids: ['checksums-wrong'],
  },
  {
    id: 'offloads',
    checked: 'LRO and GRO of the interfaces that packets come in by and leave by',
    good: 'offloads of the interfaces are right',
    ids: ['lro-on', 'gro-off', 'offload-virtual-link'],
  },
  {
    id: 'prefixes',
    checked: 'service prefixes against addresses, next hops and routes of this host',
    good: 'no address or route of this host is in the way of a service',
    ids: ['prefix-conflict', 'route-conflict'],
  },
  {
    id: 'tunnel-source',
    checked: 'tunnel sources and their ports',
    good: "tunnel sources are addresses of this host, their ports nobody else's",
    ids: ['tunnel-source-not-local', 'source-ports-ephemeral', 'probe-ports-not-reserved'],
  },
  {
    id: 'routes',
    checked: 'route and neighbour of each backend',
    good: 'there is a way to each backend',
    ids: ['backend-unreachable', 'neighbour-missing'],
  },
  {
    id: 'path-mtu',
    checked: 'MTU of each way, and a full-size packet with DF toward each backend',
    good: 'a full client packet and its outer headers fit the way to each backend',
    ids: ['path-mtu', 'path-black-hole', 'path-not-probed'],
  },
  {
    id: 'workers',
    checked: 'pings, and a datagram to the tunnel port of each backend',
    good: 'each backend answers, and none refuses tunnel packets',
    ids: ['backend-silent', 'backend-blackholed', 'tunnel-port-closed', 'tunnel-prohibited'],
  },
];
