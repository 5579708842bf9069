/** What a configuration wants from the host it runs on: plain data that the daemon builds from the configuration. */
import { formatPrefix, type Prefix } from '../base/address.ts';

/** The way in. Only `tun`, `tap`, `packet` and `xdp` touch the kernel around us. */
export type WantedIngress =
  | {
      readonly driver: 'tun';
      /** Interface name of the TUN device, which the driver creates. */
      readonly device: string;
      /** Packets the device queues towards us (txqueuelen). */
      readonly queueLength: number;
    }
  | {
      readonly driver: 'tap';
      /** Interface name of the TAP device, which the driver creates. */
      readonly device: string;
      /** Packets the device queues towards us (txqueuelen). */
      readonly queueLength: number;
      /** The bridge whose port the device becomes; null: the kernel routes service prefixes to it. */
      readonly bridge: string | null;
    }
  | {
      readonly driver: 'packet' | 'xdp';
      /** Interface whose packets are copied to us, or taken. */
      readonly interface: string;
    }
  | { readonly driver: 'pcap-file' | 'memory' };

export interface WantedService {
  readonly name: string;
  readonly prefix: Prefix;
  /** IP protocol number: 6 or 17. */
  readonly protocol: number;
  /** Inclusive. */
  readonly portFrom: number;
  readonly portTo: number;
}

export interface WantedBackend {
  readonly pool: string;
  readonly name: string;
  /** Tunnel endpoint, 4 or 16 bytes, network byte order. */
  readonly address: Uint8Array;
  /** Bytes in front of the inner packet: outer IP + UDP + GUE (32 over IPv4, 52 over IPv6). */
  readonly overhead: number;
}

export interface Wanted {
  readonly ingress: WantedIngress;
  readonly services: readonly WantedService[];
  readonly backends: readonly WantedBackend[];
  /** Configured outer source addresses, 4 or 16 bytes. Empty: the kernel's choice for each backend. */
  readonly tunnelSources: readonly Uint8Array[];
  /** UDP destination ports of the tunnels. */
  readonly tunnelPorts: readonly number[];
  /** IP protocol numbers of tunnels without UDP (4, 41, 47). */
  readonly tunnelProtocols: readonly number[];
  /** TAP device of the `tap-offload` egress, which the driver creates; null for other drivers. */
  readonly egressDevice: string | null;
  /** Interface that the `packet` or `xdp` egress sends by; null or absent for other drivers. */
  readonly egressInterface?: string | null;
  /** It is `xdp`'s: a queue of it for each thread. */
  readonly egressQueues?: boolean;
  /** Source ports of the `udp` egress: `base` to `base + count − 1`; null for other drivers. */
  readonly udpSourcePorts: { readonly base: number; readonly count: number } | null;
}

/** True for an ingress that needs something of the kernel around us: privilege, routes, silence for what is not ours. */
export function isLive({ driver }: WantedIngress): boolean {
  return driver === 'tun' || driver === 'tap' || driver === 'packet' || driver === 'xdp';
}

/** The device of ours into which the kernel forwards what comes for a service, null when there is none. */
export function routedDevice(ingress: WantedIngress): string | null {
  if (ingress.driver === 'tun') return ingress.device;
  return ingress.driver === 'tap' && ingress.bridge === null ? ingress.device : null;
}

/** True when there are backends whose address has `length` bytes, 4 or 16. */
export function hasBackends(wanted: Wanted, length: 4 | 16): boolean {
  return wanted.backends.some(({ address }) => address.length === length);
}

/** The distinct service prefixes, in order of first mention (many services share one address). */
export function servicePrefixes(wanted: Wanted): Prefix[] {
  const seen = new Map<string, Prefix>();
  for (const { prefix } of wanted.services) {
    const key = `${prefix.bytes.join('.')}/${prefix.length}`;
    if (!seen.has(key)) seen.set(key, prefix);
  }
  return [...seen.values()];
}

/** What both want: while one configuration takes the other's place, neither's packets may be bounced. Devices are those of `now`. */
export function unionOf(before: Wanted, now: Wanted): Wanted {
  return {
    ...now,
    services: [...now.services, ...before.services],
    backends: [...now.backends, ...before.backends],
    tunnelSources: [...now.tunnelSources, ...before.tunnelSources],
    tunnelPorts: [...new Set([...now.tunnelPorts, ...before.tunnelPorts])],
    tunnelProtocols: [...new Set([...now.tunnelProtocols, ...before.tunnelProtocols])],
  };
}

/** Equal for wishes that lead to the same routes, rules and settings of devices. */
export function wishKey(wanted: Wanted): string {
  const { ingress, tunnelPorts, tunnelProtocols, egressDevice } = wanted;
  const prefixes = servicePrefixes(wanted).map(formatPrefix).sort();
  const numbers = [tunnelPorts, tunnelProtocols].map((list) => [...list].sort((a, b) => a - b));
  return JSON.stringify([ingress, prefixes, numbers, egressDevice, hasBackends(wanted, 16)]);
}
