/** The parts of a worker's host, in the order of a packet's way. */
import type { Area } from '../finding.ts';

export const WORKER_AREAS: readonly Area[] = [
  {
    id: 'identity',
    checked: 'addresses of this host against the backends of the configuration',
    good: 'this host is a backend of the configuration',
    ids: ['not-a-backend'],
  },
  {
    id: 'link-mtu',
    checked: 'MTU of the interfaces that tunnel packets come in by',
    good: 'a full client packet and its outer headers fit the interface',
    ids: ['worker-mtu'],
  },
  {
    id: 'firewall',
    checked: 'input chains of nftables or iptables',
    good: 'no rule drops tunnel packets',
    ids: ['tunnel-dropped', 'input-policy', 'input-unknown'],
  },
  {
    id: 'decapsulation',
    checked: 'ip fou show, sockets of other programs',
    good: 'tunnel packets are unwrapped as directors send them',
    ids: ['fou-missing', 'fou-port-missing', 'fou-port-type', 'port-taken', 'user-space-worker', 'unwrapped-twice'],
  },
  {
    id: 'tunnel-device',
    checked: 'ip -d link show: tunnel devices, their kind, mode and state',
    good: 'a tunnel device that is up takes what is unwrapped',
    ids: ['tunnel-device-missing', 'tunnel-device-down', 'tunnel-device-mode', 'gre-checksums'],
  },
  {
    id: 'reverse-path',
    checked: 'net.ipv4.conf.*.rp_filter of all, tunnel devices and interfaces',
    good: 'no reverse path filter drops what is unwrapped',
    ids: ['tunnel-reverse-path', 'link-reverse-path'],
  },
  {
    id: 'vip',
    checked: 'local routes and addresses for each virtual IP',
    good: 'each virtual IP is an address of this host',
    ids: ['vip-missing', 'vip-tentative', 'vip-on-link'],
  },
  {
    id: 'arp',
    checked: 'net.ipv4.conf.*.arp_ignore and arp_announce where a virtual IP lies in a connected network',
    good: 'nobody learns from this host where the virtual IPs are',
    ids: ['arp-answers'],
  },
  {
    id: 'checksums',
    checked: 'InCsumErrors of /proc/net/snmp and snmp6',
    good: 'segments and datagrams arrive undamaged',
    ids: ['damaged-packets'],
  },
  {
    id: 'service',
    checked: 'listening sockets (/proc/net/tcp, udp, tcp6, udp6)',
    good: 'something listens on the port of each service',
    ids: ['service-not-listening'],
  },
  {
    id: 'answers',
    checked: 'default routes',
    good: 'answers to clients have a way',
    ids: ['no-way-back'],
  },
];
