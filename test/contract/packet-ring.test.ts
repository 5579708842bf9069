// The packet driver over receive rings: the contract, and what only rings have.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Batch } from '../../src/base/batch.ts';
import { VIRTIO_NEEDS_CSUM } from '../../src/base/batch.ts';
import { createBatch } from '../../src/io/open.ts';
import { openPacketIngress, PacketIngress, type PacketIngressOptions } from '../../src/io/packet/ingress.ts';
import { closeDescriptor, writeDescriptor } from '../../src/raw-socket/file.ts';
import { pin } from '../../src/raw-socket/memory.ts';
import { openPacketSocket } from '../../src/raw-socket/packet-socket.ts';
import { needs } from '../needs.ts';
import { ingressContract, receiveAll } from './driver.ts';
import { sendFrames } from './frames.ts';
import { NEAR4, Wire } from './lab.ts';
import { ethernet, openPacketLab } from './packet-lab.ts';
import { ipPacket, udpBody } from './packets.ts';
import { SERVICE } from './service-lab.ts';

const KINDS = ['frames', 'blocks'] as const;
const ROOT = needs('root', 'namespaces');
// 1,894 bytes of IP are the most that a frame of the ring takes.
const sizes = [28, 29, 64, 1500, 1894, 1895, 9000, 65534, 65535, 64];
for (const ring of KINDS) {
  // A column's own slot takes 64 KiB, so nothing is too large.
  ingressContract(`packet, ring of ${ring}`, {
    needs: ['root', 'namespaces'],
    open: () => openPacketLab(ring),
    sizes,
    largestFrame: null,
  });
}

const service = { prefix: { bytes: SERVICE, length: 32 }, protocol: 17, portFrom: 0, portTo: 65535 };

function open(wire: Wire, options: Partial<PacketIngressOptions>): PacketIngress {
  return wire.far.inside(() => new PacketIngress({ device: 'vb', services: [service], ...options }));
}

/** `count` frames whose source ports are numbers from `first` on. */
function send(wire: Wire, first: number, count: number, bytes = (n: number) => (n % 3) * 500 + 40): void {
  const frames = Array.from({ length: count }, (_, k) => {
    const body = udpBody(first + k, 4001, Buffer.alloc(bytes(first + k)), null);
    return ethernet([8, 0], ipPacket({ family: 4, source: NEAR4, destination: SERVICE }, 17, body));
  });
  wire.near.inside(() => {
    for (let at = 0; at < count; at += 32) sendFrames('va', frames.slice(at, at + 32));
  });
}

const rest = (ingress: PacketIngress, batch: Batch) => ingress.rest?.(batch) ?? assert.fail('it has a ring');
const numbers = (batch: Batch) =>
  Array.from({ length: batch.count }, (_, i) => batch.arena.view.getUint16(batch.frameAt[i] + 34));
const span = (first: number, count: number) => Array.from({ length: count }, (_, k) => first + k);

for (const ring of KINDS) {
  test(
    `packet, ring of ${ring}: a VLAN tag that the kernel took out is put back, before a partial checksum's place`,
    ROOT,
    () => {
      const wire = new Wire();
      const ingress = open(wire, { ring });
      const { batch } = createBatch(ingress, 4);
      const body = udpBody(2000, 4001, Buffer.alloc(100), null);
      const frame = ethernet([0x81, 0, 0x20, 5, 8, 0], ipPacket({ family: 4, source: NEAR4, destination: SERVICE }, 17, body));
      wire.near.inside(() => sendFrames('va', [frame]));
      // The same with a checksum that is left to a device: header length 0, checksum from 38 on into 38 + 6.
      const message = pin(10 + frame.length);
      message.bytes.set([VIRTIO_NEEDS_CSUM, 0, 0, 0, 0, 0, 38, 0, 6, 0]);
      message.bytes.set(frame, 10);
      wire.near.inside(() => {
        const { descriptor } = openPacketSocket({ device: 'va', fanoutGroup: null, receiveBuffer: 65_536 });
        assert.equal(writeDescriptor(descriptor, message.address, 10 + frame.length), 10 + frame.length);
        closeDescriptor(descriptor);
      });
      let seen = 0;
      receiveAll(ingress, batch, 2, () => {
        for (let i = 0; i < batch.count; i++, seen++) {
          const at = batch.frameAt[i];
          assert.deepEqual(Buffer.from(batch.arena.bytes.slice(at, at + batch.frameLength[i])), frame);
          const partial = [batch.virtioFlags[i] & VIRTIO_NEEDS_CSUM, batch.csumStart[i], batch.csumOffset[i]];
          if (seen === 1) assert.deepEqual(partial, [1, 38, 6]);
          else assert.equal(partial[0], 0);
        }
      });
      assert.equal(seen, 2);
      ingress.close();
      wire.close();
    },
  );

  test(`packet, ring of ${ring}: what finds it full is counted, every packet of it`, ROOT, () => {
    const wire = new Wire();
    // 62 frames and room for few large packets; or two blocks.
    const ingress = open(wire, { ring, ringBlocks: 2, receiveBuffer: 65_536 });
    const { batch } = createBatch(ingress, 16);
    const size = (n: number) => (n % 5 === 0 ? 9000 : 40);
    let got = 0;
    let sent = 0;
    for (const burst of ring === 'frames' ? [30, 200, 100] : [30, 2000, 500]) {
      send(wire, 1, burst, size);
      sent += burst;
      for (let n = -1; n !== 0; ) {
        n = receiveAll(ingress, batch, 1, () =>
          assert.ok([...batch.reason.slice(0, batch.count)].every((reason) => reason === 0)),
        );
        got += n;
        if (got + ingress.statistics().kernelDrops === sent) break;
      }
      assert.equal(got + ingress.statistics().kernelDrops, sent);
    }
    assert.ok(ingress.statistics().kernelDrops > 0 && got > 60);
    ingress.close();
    wire.close();
  });

  test(`packet, ring of ${ring}: who reads it next goes on behind the last packet, also when it is full`, ROOT, () => {
    const wire = new Wire();
    const first = open(wire, { ring, ringBlocks: 4 });
    const mapped = createBatch(first, 4);
    const inherit = () =>
      wire.far.inside(() =>
        openPacketIngress({ device: 'vb', services: [], ring: 'none', queue: first.descriptor, ringBlocks: 4 }),
      );
    const read: number[] = [];
    send(wire, 1, 10);
    receiveAll(first, mapped.batch, 1, () => read.push(...numbers(mapped.batch)));
    while (rest(first, mapped.batch) > 0) read.push(...numbers(mapped.batch));
    const second = inherit();
    assert.equal(second.ring, ring);
    assert.match(second.warning?.message ?? '', /handed over has "ring: (frames|blocks)"/);
    const { batch } = createBatch(second, 4);
    assert.equal(read.length + receiveAll(second, batch, 10 - read.length, () => read.push(...numbers(batch))), 10);
    send(wire, 11, 5);
    receiveAll(second, batch, 5, () => read.push(...numbers(batch)));
    assert.deepEqual(read, span(1, 15));
    while (rest(second, batch) > 0);
    // Full, and the oldest in the middle.
    send(wire, 1, 2000, () => 600);
    const third = inherit();
    const { batch: last } = createBatch(third, 64);
    const full: number[] = [];
    const drops = third.statistics().kernelDrops;
    receiveAll(third, last, 2000 - drops, () => full.push(...numbers(last)));
    assert.ok(drops > 0);
    assert.deepEqual(full, span(1, 2000 - drops));
    first.close();
    wire.close();
  });
}

test('packet: a ring that the kernel has no memory for is done without, and said', ROOT, () => {
  const wire = new Wire();
  const ingress = wire.far.inside(() =>
    openPacketIngress({ device: 'vb', services: [service], ring: 'blocks', ringBlocks: 0x7fff_ffff }),
  );
  assert.equal(ingress.ring, 'none');
  assert.match(ingress.warning?.message ?? '', /read by calls/);
  const { batch } = createBatch(ingress, 4);
  send(wire, 1, 3);
  assert.equal(
    receiveAll(ingress, batch, 3, () => {}),
    3,
  );
  ingress.close();
  wire.close();
});

test('packet: two threads with rings share the flows, none twice', ROOT, () => {
  const wire = new Wire();
  const both = [0, 1].map(() => open(wire, { ring: 'frames', ringBlocks: 4, fanoutGroup: 7 }));
  send(wire, 2000, 32);
  const seen = both.map((ingress) => {
    const { batch } = createBatch(ingress, 64);
    ingress.receive(batch);
    return numbers(batch);
  });
  assert.deepEqual(
    seen.flat().sort((a, b) => a - b),
    span(2000, 32),
  );
  assert.ok(seen.every((flows) => flows.length > 0));
  for (const ingress of both) ingress.close();
  wire.close();
});
