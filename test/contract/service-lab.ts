// A wire with a client at its near end and, at its far end, a driver under test that reads an interface: packets to 10.9.9.0/24 are routed there.

import type { Ingress } from '../../src/io/driver.ts';
import type { ServiceMatch } from '../../src/io/packet/filter.ts';
import type { IngressHarness } from './driver.ts';
import { FAR_MAC, Injector, Listener, NEAR_MAC, NEAR4, type Wire } from './lab.ts';
import { ipPacket, udpBody } from './packets.ts';

export const SERVICE = Uint8Array.from([10, 9, 9, 9]);

/** `open` is called at the far end; its interface is `vb`. `impossibleReply`: as IngressHarness. */
export function openServiceLab<T extends Ingress>(
  wire: Wire,
  open: (service: ServiceMatch) => T,
  impossibleReply: Uint8Array,
): IngressHarness & { ingress: T } {
  const service = { prefix: { bytes: SERVICE, length: 32 }, protocol: 17, portFrom: 4001, portTo: 4001 };
  const ingress = wire.far.inside(() => open(service));
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
    impossibleReply,
    close() {
      ingress.close();
      injector.close();
      listener.close();
      wire.close();
    },
  };
}
