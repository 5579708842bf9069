// What the tests of the packet driver have in common: one end of a wire that it reads, and frames for the other.

import type { ServiceMatch } from '../../src/io/packet/filter.ts';
import { PacketIngress } from '../../src/io/packet/ingress.ts';
import type { RingKind } from '../../src/io/packet/ring.ts';
import { FAR_MAC, NEAR_MAC, Wire } from './lab.ts';
import { openServiceLab } from './service-lab.ts';

export function openPacketLab(ring: RingKind): ReturnType<typeof openServiceLab<PacketIngress>> {
  const open = (service: ServiceMatch) => new PacketIngress({ device: 'vb', services: [service], ring, ringBlocks: 16 });
  // Longer than the interface's MTU.
  return openServiceLab(new Wire(), open, Buffer.alloc(65600, 1));
}

export const ethernet = (type: number[], packet: Uint8Array, to = FAR_MAC) =>
  Buffer.concat([Buffer.from([...to, ...NEAR_MAC, ...type]), packet]);
