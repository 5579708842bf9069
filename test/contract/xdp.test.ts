import { XdpIngress } from '../../src/io/xdp/ingress.ts';
import { FRAME_BYTES } from '../../src/io/xdp/port.ts';
import { type IngressHarness, ingressContract } from './driver.ts';
import { FAR_MAC, Injector, Listener, NEAR_MAC, NEAR4, Wire } from './lab.ts';
import { ipPacket, udpBody } from './packets.ts';

const SERVICE = Uint8Array.from([10, 9, 9, 9]);

/** As with `packet`: the client is near, the director far. */
function openLab(): IngressHarness & { ingress: XdpIngress } {
  const wire = new Wire(3000);
  const service = { prefix: { bytes: SERVICE, length: 32 }, protocol: 17, portFrom: 4001, portTo: 4001 };
  const ingress = wire.far.inside(() => new XdpIngress({ device: 'vb', services: [service] }));
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

ingressContract('xdp', {
  needs: ['root', 'namespaces', 'xdp'],
  open: openLab,
  sizes: [28, 29, 64, 576, 1499, 1500, FRAME_BYTES - 14],
  largestFrame: FRAME_BYTES,
});
