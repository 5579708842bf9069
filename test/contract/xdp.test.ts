import type { ServiceMatch } from '../../src/io/packet/filter.ts';
import { XdpIngress } from '../../src/io/xdp/ingress.ts';
import { FRAME_BYTES } from '../../src/io/xdp/port.ts';
import { ingressContract } from './driver.ts';
import { Wire } from './lab.ts';
import { openServiceLab } from './service-lab.ts';

function openLab(largePackets: boolean): ReturnType<typeof openServiceLab<XdpIngress>> {
  const open = (service: ServiceMatch) => new XdpIngress({ device: 'vb', services: [service], largePackets });
  // Longer than a frame.
  return openServiceLab(new Wire(largePackets ? 65535 : 3000), open, Buffer.alloc(2200, 1));
}

const parts = ['root', 'namespaces', 'xdp'] as const;
const sizes = [28, 29, 64, 576, 1499, 1500, FRAME_BYTES - 14];
const large = [FRAME_BYTES - 13, 4096, 9000, 2 * FRAME_BYTES - 14, 65534, 65535];
ingressContract('xdp', { needs: parts, open: () => openLab(true), sizes: [...sizes, ...large, 64], largestFrame: null });
// As a kernel before 6.6 has it.
ingressContract('xdp without large packets', { needs: parts, open: () => openLab(false), sizes, largestFrame: FRAME_BYTES });
