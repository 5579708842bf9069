import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBatch } from '../../src/io/open.ts';
import { packetFilter } from '../../src/io/packet/filter.ts';
import { PacketIngress } from '../../src/io/packet/ingress.ts';
import { needs } from '../needs.ts';
import { ingressContract, receiveAll } from './driver.ts';
import { sendFrames } from './frames.ts';
import { NEAR4, NEAR6, Wire } from './lab.ts';
import { ethernet, openPacketLab } from './packet-lab.ts';
import { ipPacket, udpBody, udpPacket } from './packets.ts';
import { SERVICE } from './service-lab.ts';

test('packet: a VLAN tag that the kernel took out is put back', needs('root', 'namespaces'), () => {
  const wire = new Wire();
  const service = { prefix: { bytes: SERVICE, length: 32 }, protocol: 17, portFrom: 4001, portTo: 4001 };
  const ingress = wire.far.inside(() => new PacketIngress({ device: 'vb', services: [service] }));
  const frame = ethernet([0x81, 0x00, 0x20, 0x05, 8, 0], udpPacket(100, 1));
  wire.near.inside(() => sendFrames('va', [frame]));
  const { batch } = createBatch(ingress, 4);
  assert.equal(
    receiveAll(ingress, batch, 1, () => {}),
    1,
  );
  assert.deepEqual(Buffer.from(batch.arena.bytes.slice(batch.frameAt[0], batch.frameAt[0] + batch.frameLength[0])), frame);
  ingress.close();
  wire.close();
});

test('packet: the kernel copies what a service wants and nothing else, in every precision', needs('root', 'namespaces'), () => {
  const wire = new Wire();
  const other = (n: number) => ({
    prefix: { bytes: Uint8Array.from([10, 8, n >> 8, n & 255]), length: 32 },
    protocol: 6,
    portFrom: 1,
    portTo: 9,
  });
  const services = [
    { prefix: { bytes: Uint8Array.from([10, 9, 8, 0]), length: 23 }, protocol: 17, portFrom: 53, portTo: 60 },
    { prefix: { bytes: Uint8Array.from([10, 9, 9, 9]), length: 32 }, protocol: 6, portFrom: 0, portTo: 65535 },
    { prefix: { bytes: NEAR6.map((byte, i) => (i === 15 ? 9 : byte)), length: 128 }, protocol: 17, portFrom: 53, portTo: 53 },
    { prefix: { bytes: Uint8Array.from([10, 9, 6, 6]), length: 32 }, protocol: 256, portFrom: 0, portTo: 65535 },
    { prefix: { bytes: NEAR6.map((byte, i) => (i === 15 ? 6 : byte)), length: 128 }, protocol: 256, portFrom: 0, portTo: 65535 },
  ];
  const ip = (last: number[], protocol: number, port: number) =>
    ipPacket(
      { family: 4, source: NEAR4, destination: Uint8Array.from([10, 9, ...last]) },
      protocol,
      udpBody(1000, port, Buffer.alloc(40), null),
    );
  const six = (last: number, protocol: number, port: number) =>
    ipPacket(
      { family: 6, source: NEAR6, destination: NEAR6.map((byte, i) => (i === 15 ? last : byte)) },
      protocol,
      udpBody(1000, port, Buffer.alloc(40), null),
    );
  const later = ip([9, 9], 6, 1);
  later[7] = 8;
  const V4 = [8, 0];
  const V6 = [0x86, 0xdd];
  // [frame, copied when ports are known, when prefixes are known]
  const cases: [Uint8Array, boolean, boolean][] = [
    [ethernet(V4, ip([9, 9], 17, 53)), true, true],
    [ethernet(V4, ip([8, 7], 17, 60)), true, true],
    [ethernet(V4, ip([8, 7], 17, 61)), false, true],
    [ethernet(V4, ip([7, 7], 17, 53)), false, false],
    [ethernet(V4, ip([9, 9], 6, 40000)), true, true],
    [ethernet(V4, ip([8, 9], 6, 53)), false, true],
    [ethernet(V4, ip([8, 9], 1, 0)), true, true],
    [ethernet(V4, later), true, true],
    // Of a service for any protocol.
    [ethernet(V4, ip([6, 6], 50, 0)), true, true],
    [ethernet(V4, ip([6, 6], 6, 1)), true, true],
    [ethernet(V6, six(6, 50, 0)), true, true],
    [ethernet(V4, ip([9, 9], 17, 53), [2, 0, 0, 0, 0, 7]), false, false],
    // In frames to groups: broadcast, and the multicast MAC addresses of 224.0.0.1 and ff02::1.
    [ethernet(V4, ip([9, 9], 17, 53), [255, 255, 255, 255, 255, 255]), false, false],
    [ethernet(V4, ip([9, 9], 17, 53), [1, 0, 0x5e, 0, 0, 1]), false, false],
    [ethernet(V6, six(9, 17, 53), [0x33, 0x33, 0, 0, 0, 1]), false, false],
    [ethernet(V6, six(9, 17, 53)), true, true],
    [ethernet(V6, six(9, 17, 54)), false, true],
    [ethernet(V6, six(8, 17, 53)), false, false],
    [ethernet(V6, six(9, 58, 0)), true, true],
    [ethernet(V6, six(9, 44, 0)), true, true],
    [ethernet([8, 6], Buffer.alloc(46)), false, false],
  ];
  for (const [extra, precision, column] of [
    [0, 'ports', 1],
    [900, 'prefixes', 2],
  ] as const) {
    const all = [...services, ...Array.from({ length: extra }, (_, n) => other(n))];
    const ingress = wire.far.inside(() => new PacketIngress({ device: 'vb', services: all }));
    assert.equal(ingress.precision, precision);
    const wanted = cases.filter((row) => row[column]).map((row) => Buffer.from(row[0]).toString('hex'));
    wire.near.inside(() =>
      sendFrames(
        'va',
        cases.map((row) => row[0]),
      ),
    );
    const { batch } = createBatch(ingress, 64);
    receiveAll(ingress, batch, wanted.length, () => {});
    const got = Array.from({ length: batch.count }, (_, i) =>
      Buffer.from(batch.arena.bytes.slice(batch.frameAt[i], batch.frameAt[i] + batch.frameLength[i])).toString('hex'),
    );
    assert.deepEqual(got, wanted);
    ingress.close();
  }
  assert.equal(packetFilter(Array.from({ length: 5000 }, (_, n) => other(n))).precision, 'all-ip');
  wire.close();
});

test(
  'packet: over a socket that another process reads, the filter stays as it is until services are set',
  needs('root', 'namespaces'),
  () => {
    const wire = new Wire();
    const service = (port: number) => ({ prefix: { bytes: SERVICE, length: 32 }, protocol: 17, portFrom: port, portTo: port });
    const open = (port: number, queue?: number) =>
      new PacketIngress({ device: 'vb', services: [service(port)], ...(queue === undefined ? {} : { queue }) });
    const old = wire.far.inside(() => open(4001));
    const next = wire.far.inside(() => open(4002, old.descriptor));
    const frames = [4001, 4002].map((port) =>
      ethernet(
        [8, 0],
        ipPacket({ family: 4, source: NEAR4, destination: SERVICE }, 17, udpBody(2000, port, Buffer.alloc(40), null)),
      ),
    );
    const arrived = () => {
      wire.near.inside(() => sendFrames('va', frames));
      const { batch } = createBatch(old, 8);
      receiveAll(old, batch, 1, () => {});
      return Array.from({ length: batch.count }, (_, i) => batch.arena.view.getUint16(batch.frameAt[i] + 14 + 20 + 2));
    };
    assert.deepEqual(arrived(), [4001]);
    next.setServices([service(4002)]);
    assert.deepEqual(arrived(), [4002]);
    old.close();
    wire.close();
  },
);

test('packet: two threads of one group share the flows, none twice', needs('root', 'namespaces'), () => {
  const wire = new Wire();
  const service = { prefix: { bytes: SERVICE, length: 32 }, protocol: 17, portFrom: 0, portTo: 65535 };
  const open = () => new PacketIngress({ device: 'vb', services: [service], fanoutGroup: 7 });
  const [first, second] = wire.far.inside(() => [open(), open()]);
  const frames = Array.from({ length: 16 }, (_, i) =>
    ethernet(
      [8, 0],
      ipPacket({ family: 4, source: NEAR4, destination: SERVICE }, 17, udpBody(2000 + i, 4001, Buffer.alloc(40), null)),
    ),
  );
  wire.near.inside(() => sendFrames('va', frames));
  const counts = [first, second].map((ingress) => ingress.receive(createBatch(ingress, 64).batch));
  assert.equal(counts[0] + counts[1], 16);
  first.close();
  second.close();
  wire.close();
});

ingressContract('packet', {
  needs: ['root', 'namespaces'],
  open: () => openPacketLab('none'),
  sizes: [28, 29, 64, 1500, 9000, 65534, 65535],
});
