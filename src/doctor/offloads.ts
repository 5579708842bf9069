/** Offloads of the interfaces that services' packets pass: what merges must be undone exactly, and what could merge should. */
import { offloadsOf } from '../raw-socket/tun.ts';
import type { Found } from './finding.ts';

export interface InterfaceOffloads {
  readonly name: string;
  /** Hardware merges segments, and does not say how to cut them again. */
  readonly lro: boolean;
  readonly gro: boolean;
  /** Packets of services come in by it. */
  readonly incoming: boolean;
}

/** Of those interfaces that answer; a device without an ethtool interface has no offloads that one could change. */
export function interfaceOffloads(names: readonly { readonly name: string; readonly incoming: boolean }[]): InterfaceOffloads[] {
  return names.flatMap(({ name, incoming }) => {
    const offloads = offloadsOf(name);
    return offloads === null ? [] : [{ name, incoming, ...offloads }];
  });
}

export function judgeOffloads(interfaces: readonly InterfaceOffloads[]): Found[] {
  return interfaces.flatMap(({ name, lro, gro, incoming }): Found[] => {
    const found: Found[] = [];
    if (lro) {
      found.push({
        id: 'lro-on',
        level: 'warning',
        text: `${name} merges segments in hardware (LRO): headers are lost that a packet to be passed on must keep`,
        fix: `ethtool -K ${name} lro off`,
      });
    }
    if (incoming && !gro) {
      found.push({
        id: 'gro-off',
        level: 'info',
        text: `${name} does not merge segments (GRO is off): every packet of a large transfer is steered by itself`,
        fix: `ethtool -K ${name} gro on`,
      });
    }
    return found;
  });
}
