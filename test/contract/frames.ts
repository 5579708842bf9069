// Frames as they are, out of an interface of the current namespace.

import { VERDICT_REPLY } from '../../src/base/verdict.ts';
import { createBatch } from '../../src/io/open.ts';
import { PacketIngress } from '../../src/io/packet/ingress.ts';

export function sendFrames(device: string, frames: readonly Uint8Array[]): void {
  const sender = new PacketIngress({ device, services: [] });
  const { batch, release } = createBatch(sender, Math.min(64, frames.length));
  for (let from = 0; from < frames.length; from += batch.capacity) {
    const some = frames.slice(from, from + batch.capacity);
    batch.count = some.length;
    some.forEach((frame, i) => {
      batch.outAt[i] = batch.frameAt[i];
      batch.outLength[i] = frame.length;
      batch.arena.bytes.set(frame, batch.outAt[i]);
      batch.verdict[i] = VERDICT_REPLY;
    });
    sender.reply(batch);
  }
  sender.close();
  release();
}
