import { XdpIngress } from '../../src/io/xdp/ingress.ts';
import { FRAME_BYTES } from '../../src/io/xdp/port.ts';
import { type IngressHarness, ingressContract } from './driver.ts';
import { FAR_MAC, Injector, Listener, NEAR_MAC, NEAR4, Wire } from './lab.ts';
import { ipPacket, udpBody } from './packets.ts';

const SERVICE = Uint8Array.from([10, 9, 9, 9]);

/** As with `packet`: the client is near, the director far. */
function openLab(largePackets: boolean): IngressHarness & { ingress: XdpIngress } {
  const wire = new Wire(largePackets ? 65535 : 3000);
  const service = { prefix: { bytes: SERVICE, length: 32 }, protocol: 17, portFrom: 4001, portTo: 4001 };
  const ingress = wire.far.inside(() => new XdpIngress({ device: 'vb', services: [service], largePackets }));
  const injector = wire.near.inside(() => new Injector());
  const listener = wire.near.inside(() => new Listener(NEAR4));
  return {
    ingress,
    deliver: (packets) => injector.deliver(packets),
    replyFrame(payload) {
      const packet = ipPacket({ family: 4, source: SERVICE, destination: NEAR4 }, 17, udpBody(4001, 4000, payload, null));
      return Buffer.concat([Buffer.from([...NEAR_MAC, ...FAR_MAC, 8, 0]), packet]);
    },
    replies: () => listener.payloads(),
    // Longer than a frame.
    impossibleReply: Buffer.alloc(2200, 1),
    close() {
      ingress.close();
      injector.close();
      listener.close();
      wire.close();
    },
  };
}

const parts = ['root', 'namespaces', 'xdp'] as const;
const sizes = [28, 29, 64, 576, 1499, 1500, FRAME_BYTES - 14];
const large = [FRAME_BYTES - 13, 4096, 9000, 2 * FRAME_BYTES - 14, 65534, 65535];
ingressContract('xdp', { needs: parts, open: () => openLab(true), sizes: [...sizes, ...large, 64], largestFrame: null });
// As a kernel before 6.6 has it.
ingressContract('xdp without large packets', { needs: parts, open: () => openLab(false), sizes, largestFrame: FRAME_BYTES });
