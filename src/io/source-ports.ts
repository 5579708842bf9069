/** Which outer UDP source ports a way out uses: the drivers' facts, for whoever must know them without opening a driver. */
import type { EgressSettings } from './open.ts';

/** The whole dynamic range of RFC 6335 §6: for drivers that hold no port, so that none can be taken. A power of two. */
export const DYNAMIC_PORTS = { base: 49152, count: 16384 } as const;

/** What `auto` uses unless told otherwise: above the kernel's ephemeral range (32768–60999). Each port is a descriptor for each family and thread. */
export const AUTO_PORTS = { base: 61440, count: 256 } as const;

/** Ports `base` to `base + count − 1` of packets to a network; null where they go to none. */
export function sourcePortsOf(settings: EgressSettings): { readonly base: number; readonly count: number } | null {
  switch (settings.driver) {
    case 'auto':
    case 'udp':
      return { base: settings.sourcePortBase, count: settings.sourcePorts };
    case 'pcap-file':
    case 'memory':
      return null;
    default:
      return DYNAMIC_PORTS;
  }
}
