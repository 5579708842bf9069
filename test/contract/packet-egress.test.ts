import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import { createBatch } from '../../src/io/open.ts';
import { PacketEgress } from '../../src/io/packet/egress.ts';
import { NextHops } from '../../src/io/xdp/next-hops.ts';
import { needs } from '../needs.ts';
import { type EgressHarness, egressContract, stage } from './driver.ts';
import { Capture, FAR_MAC, FAR4, FAR6, NEAR_MAC, NEAR4, NEAR6, Wire } from './lab.ts';
import { outerPacket } from './packets.ts';

const MTU = 9000;
const mac = (bytes: number[]) => {
  const view = new DataView(Uint8Array.from(bytes).buffer);
  return { high: view.getInt32(0), low: view.getUint16(4) };
};

function openLab(): EgressHarness {
  const wire = new Wire(MTU);
  const capture = wire.far.inside(() => new Capture('vb'));
  const nextHops = new SharedArrayBuffer(NextHops.bytesFor(4));
  new NextHops(nextHops).set(0, { destination: mac(FAR_MAC), source: mac(NEAR_MAC), vlan: null, mtu: MTU });
  const egress = wire.near.inside(() => new PacketEgress({ device: 'va', nextHops }));
  return {
    egress,
    address: (family) => (family === 4 ? { source: NEAR4, destination: FAR4 } : { source: NEAR6, destination: FAR6 }),
    arrived: (count) => capture.take(count),
    mtu: MTU,
    kernelHeader: false,
    // The next hop is the backend's, not the address's.
    unreachable: null,
    close() {
      egress.close();
      capture.close();
      wire.close();
    },
  };
}

egressContract('packet', { needs: ['root', 'namespaces'], open: openLab, sizes: [60, 61, 100, 576, 1500, 1544, 8999, MTU] });

test(
  'packet: a link header is written in front of the packet where that is its own slot, and elsewhere otherwise',
  needs('root', 'namespaces'),
  () => {
    const harness = openLab();
    const mapped = createBatch(new MemoryIngress({ frames: [] }), 8);
    const { batch } = mapped;
    const packets = [100, 200, 300, 400].map((size, i) =>
      outerPacket({ family: 4, ...harness.address(4), sourcePort: 50000 + i, size, checksum: false }),
    );
    stage(batch, packets);
    // Room for 13 bytes, for 14, and a place that is far from the slot's begin.
    [13, 14, 700].forEach((room, k) => {
      const i = k + 1;
      batch.arena.bytes.fill(0xee, batch.slotAt[i], batch.slotAt[i] + 1500);
      batch.outAt[i] = batch.slotAt[i] + room;
      batch.arena.bytes.set(packets[i].bytes, batch.outAt[i]);
    });
    harness.egress.send(batch);
    assert.deepEqual(
      harness.arrived(4).map((bytes) => Buffer.compare(bytes, packets.find((one) => one.bytes.length === bytes.length)!.bytes)),
      [0, 0, 0, 0],
    );
    const untouched = (i: number) => batch.arena.bytes.slice(batch.slotAt[i], batch.outAt[i]).every((byte) => byte === 0xee);
    assert.deepEqual([1, 2, 3].map(untouched), [true, false, true]);
    harness.close();
    mapped.release();
  },
);
