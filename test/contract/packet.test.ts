import { PacketIngress } from '../../src/io/packet/ingress.ts';
import { type IngressHarness, ingressContract } from './driver.ts';
import { FAR_MAC, Injector, Listener, NEAR_MAC, NEAR4, Wire } from './lab.ts';
import { ipPacket, udpBody } from './packets.ts';

const SERVICE = Uint8Array.from([10, 9, 9, 9]);

/** The client is near, the director far: packets to 10.9.9.0/24 are routed to its interface. */
function openLab(): IngressHarness & { ingress: PacketIngress } {
  const wire = new Wire();
  const service = { prefix: { bytes: SERVICE, length: 32 }, protocol: 17, portFrom: 4001, portTo: 4001 };
  const ingress = wire.far.inside(() => new PacketIngress({ device: 'vb', services: [service] }));
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
    // Longer than the interface's MTU.
    impossibleReply: Buffer.alloc(65600, 1),
    close() {
      ingress.close();
      injector.close();
      listener.close();
      wire.close();
    },
  };
}

ingressContract('packet', { needs: ['root', 'namespaces'], open: openLab, sizes: [28, 29, 64, 1500, 9000, 65534, 65535] });
