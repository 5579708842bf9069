// What the tests of the packet driver have in common: one end of a wire that it reads, and frames into the other.

import { VERDICT_REPLY } from '../../src/base/verdict.ts';
import { createBatch } from '../../src/io/open.ts';
import { PacketIngress } from '../../src/io/packet/ingress.ts';
import type { RingKind } from '../../src/io/packet/ring.ts';
import type { IngressHarness } from './driver.ts';
import { FAR_MAC, Injector, Listener, NEAR_MAC, NEAR4, Wire } from './lab.ts';
import { ipPacket, udpBody } from './packets.ts';

export const SERVICE = Uint8Array.from([10, 9, 9, 9]);

/** The client is near, the director far: packets to 10.9.9.0/24 are routed to its interface. */
export function openPacketLab(ring: RingKind): IngressHarness & { ingress: PacketIngress } {
  const wire = new Wire();
  const service = { prefix: { bytes: SERVICE, length: 32 }, protocol: 17, portFrom: 4001, portTo: 4001 };
  const ingress = wire.far.inside(() => new PacketIngress({ device: 'vb', services: [service], ring, ringBlocks: 16 }));
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

/** Frames as they are, out of `va`: the reply path of a second driver. */
export function sendFrames(frames: readonly Uint8Array[]): void {
  const sender = new PacketIngress({ device: 'va', services: [] });
  const { batch, release } = createBatch(sender, 32);
  batch.count = frames.length;
  frames.forEach((frame, i) => {
    batch.outAt[i] = batch.frameAt[i];
    batch.outLength[i] = frame.length;
    batch.arena.bytes.set(frame, batch.outAt[i]);
    batch.verdict[i] = VERDICT_REPLY;
  });
  sender.reply(batch);
  sender.close();
  release();
}

export const ethernet = (type: number[], packet: Uint8Array, to = FAR_MAC) =>
  Buffer.concat([Buffer.from([...to, ...NEAR_MAC, ...type]), packet]);
