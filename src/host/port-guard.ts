/**
 * Ports whose packets our kernel neither answers nor gives to anybody: the source ports of tunnel probes (health/tunnel/). Without it the kernel would
 * answer a worker's SYN-ACK with a RST, which goes to the service address and so through our own table to some worker, and a datagram
 * with "port unreachable".
 *
 * No firewall is needed for that. Each port has a listening TCP socket and a UDP socket whose filter keeps nothing: the kernel finds the socket, so that it
 * has no reason to answer, and throws the packet away at the filter without a word (tcp_v4_rcv: tcp_filter, discard_and_relse). A socket that is
 * only bound would not do: for TCP the kernel looks among those that listen or are connected. They also keep the ports from other programs.
 */
import { CodedError } from '../base/errors.ts';
import { closeDescriptor } from '../raw-socket/file.ts';
import { attachFilter, KEEP_NOTHING } from '../raw-socket/filter.ts';
import {
  AF_INET,
  AF_INET6,
  bindPort,
  hasFamily,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  listenOn,
  openSocket,
  SO_REUSEPORT,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  setOption,
} from '../raw-socket/socket.ts';
import type { Finding } from './finding.ts';
import { readSysctl } from './sysctl.ts';

/** `base` to `base + count − 1`. */
export interface PortRange {
  readonly base: number;
  readonly count: number;
}

/** Both families by one socket, IPv4 alone where the kernel has nothing else. null: another program has the port. */
function openSilent(type: number, port: number, six: boolean): number | null {
  const label = `${type === SOCK_STREAM ? 'TCP' : 'UDP'} port ${port} of tunnel probes`;
  const family = six ? AF_INET6 : AF_INET;
  const descriptor = openSocket(family, type, 0, label);
  try {
    if (six) setOption(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, 0, 'IPV6_V6ONLY');
    attachFilter(descriptor, KEEP_NOTHING);
    // A process that takes over from this one guards the same ports beside it.
    setOption(descriptor, SOL_SOCKET, SO_REUSEPORT, 1, 'SO_REUSEPORT');
    if (!bindPort(descriptor, family, port)) {
      closeDescriptor(descriptor);
      return null;
    }
    if (type === SOCK_STREAM) listenOn(descriptor, 1, label);
    return descriptor;
  } catch (error) {
    closeDescriptor(descriptor);
    throw error;
  }
}

export class PortGuard {
  /** Ports that are ours now, ascending; those of the range that other programs have are missing. */
  readonly ports: readonly number[];
  readonly #descriptors: number[] = [];

  /** Takes what is free of `range`. Throws CodedError GD_HOST_PROBE_PORTS when nothing is. */
  constructor(range: PortRange) {
    const six = hasFamily(AF_INET6);
    const ports: number[] = [];
    try {
      for (let port = range.base; port < range.base + range.count; port++) {
        const tcp = openSilent(SOCK_STREAM, port, six);
        if (tcp === null) continue;
        this.#descriptors.push(tcp);
        const udp = openSilent(SOCK_DGRAM, port, six);
        if (udp === null) continue;
        this.#descriptors.push(udp);
        ports.push(port);
      }
      if (ports.length === 0) {
        throw new CodedError('GD_HOST_PROBE_PORTS', `every source port of tunnel probes, ${rangeText(range)}, is taken`, {
          hint: `ss -anp sport ge :${range.base} and sport le :${range.base + range.count - 1}`,
        });
      }
    } catch (error) {
      this.close();
      throw error;
    }
    this.ports = ports;
  }

  close(): void {
    for (const descriptor of this.#descriptors.splice(0)) closeDescriptor(descriptor);
  }
}

function rangeText({ base, count }: PortRange): string {
  return count === 1 ? String(base) : `${base}-${base + count - 1}`;
}

/** Ports as `ip_local_reserved_ports` has them: `8080,9148,61424-61439`. */
function reservedPorts(text: string): PortRange[] {
  return text
    .split(',')
    .filter((part) => part !== '')
    .map((part) => {
      const [from, to = from] = part.split('-').map(Number);
      return { base: from, count: to - from + 1 };
    });
}

/**
 * What to say about `range` on this host: programs that ask the kernel for any port may get one of these first, when its range for that includes them and
 * they are not reserved. `range4`, `reserved`: the two settings as the kernel writes them; null where it has none.
 */
export function probePortFindings(
  range: PortRange,
  range4: string | null = readSysctl('net/ipv4/ip_local_port_range'),
  reserved: string | null = readSysctl('net/ipv4/ip_local_reserved_ports'),
): Finding[] {
  if (range4 === null) return [];
  const [low, high] = range4.split(/\s+/).map(Number);
  const kept = reservedPorts(reserved ?? '');
  const open: number[] = [];
  for (let port = Math.max(low, range.base); port <= Math.min(high, range.base + range.count - 1); port++) {
    if (!kept.some(({ base, count }) => port >= base && port < base + count)) open.push(port);
  }
  if (open.length === 0) return [];
  const text = `source ports of tunnel probes (${rangeText(range)}) lie in net.ipv4.ip_local_port_range (${low}-${high}): another program may have one before us`;
  const all = [reserved ?? '', rangeText(range)].filter((part) => part !== '').join(',');
  return [{ id: 'probe-ports-not-reserved', level: 'info', text, fix: `sysctl -w net.ipv4.ip_local_reserved_ports=${all}` }];
}
