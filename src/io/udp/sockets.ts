/** The sockets of the `udp` egress: one per source port and family, which only send. */
import { CodedError } from '../../base/errors.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { attachFilter, KEEP_NOTHING } from '../../raw-socket/filter.ts';
import {
  AF_INET,
  AF_INET6,
  bindPort,
  hasFamily,
  IP_MTU_DISCOVER,
  IP_TTL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  IPV6_AUTOFLOWLABEL,
  IPV6_MTU_DISCOVER,
  IPV6_UNICAST_HOPS,
  IPV6_V6ONLY,
  openSocket,
  PMTUDISC_PROBE,
  SO_NO_CHECK,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOL_SOCKET,
  setOption,
  setSendBuffer,
  switchOption,
  UDP_NO_CHECK6_TX,
  UDP_SEGMENT,
} from '../../raw-socket/socket.ts';
import { DEFAULT_TTL } from './control.ts';

/** A batch of 64 super-packets may all be one socket's; the kernel counts up to 1.1 times their length. */
const SEND_BUFFER = 8 * 1024 * 1024;

function openOne(family: number, port: number): number {
  const six = family === AF_INET6;
  const descriptor = openSocket(family, SOCK_DGRAM, IPPROTO_UDP, 'udp egress');
  try {
    attachFilter(descriptor, KEEP_NOTHING);
    // Each forwarding thread binds the same ports: a flow keeps its port whichever thread carries it.
    setOption(descriptor, SOL_SOCKET, SO_REUSEADDR, 1, 'SO_REUSEADDR');
    if (six) {
      setOption(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, 1, 'IPV6_V6ONLY');
      setOption(descriptor, IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE, 'IPV6_MTU_DISCOVER');
      // What our header says (control.ts), and as `raw` sends it: a flow's packets must be one flow to routers that hash the label, whoever sends them.
      setOption(descriptor, IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0, 'IPV6_AUTOFLOWLABEL');
      setOption(descriptor, IPPROTO_IPV6, IPV6_UNICAST_HOPS, DEFAULT_TTL, 'IPV6_UNICAST_HOPS');
    } else {
      setOption(descriptor, IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE, 'IP_MTU_DISCOVER');
      setOption(descriptor, IPPROTO_IP, IP_TTL, DEFAULT_TTL, 'IP_TTL');
    }
    setSendBuffer(descriptor, SEND_BUFFER);
    if (!bindPort(descriptor, family, port)) {
      throw new CodedError('GD_IO_UDP_PORT', `UDP port ${port}, a source port of the udp egress, is in use by another program`, {
        hint: `see who holds it: ss -ulnp "sport = :${port}"; or set egress.source-port-base to a free range outside net.ipv4.ip_local_port_range`,
      });
    }
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}

/**
 * `count` sockets per family with source ports `base` … ; IPv4 first, then IPv6. All or none: on an error those opened are closed. A
 * family that this kernel does not have (ipv6.disable=1) has −1 in each of its places.
 */
export function openSockets(base: number, count: number): number[] {
  const descriptors: number[] = [];
  try {
    for (const family of [AF_INET, AF_INET6]) {
      const present = hasFamily(family);
      for (let i = 0; i < count; i++) descriptors.push(present ? openOne(family, base + i) : -1);
    }
    return descriptors;
  } catch (error) {
    for (const descriptor of descriptors) if (descriptor >= 0) closeDescriptor(descriptor);
    throw error;
  }
}

/** Whether the kernel fills the UDP checksum of what this socket sends; false when it refuses the switch. */
export function switchChecksum(descriptor: number, six: boolean, fill: boolean): boolean {
  return six
    ? switchOption(descriptor, IPPROTO_UDP, UDP_NO_CHECK6_TX, fill ? 0 : 1)
    : switchOption(descriptor, SOL_SOCKET, SO_NO_CHECK, fill ? 0 : 1);
}

/**
 * Whether the kernel knows UDP_SEGMENT (Linux 4.18). One that does not would ignore the control message and take a train for one huge
 * datagram. Nothing is sent to find out; what a particular way out refuses is seen when it does.
 */
export function takesTrains(descriptor: number): boolean {
  return switchOption(descriptor, IPPROTO_UDP, UDP_SEGMENT, 0);
}
