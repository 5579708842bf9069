// Super-packets through the whole path: every segment that leaves is what the slow twin says, encapsulated, and decodes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BATCH_RECORDS, RECORD_STRIDE } from '../../src/base/arena.ts';
import { VIRTIO_NEEDS_CSUM } from '../../src/base/batch.ts';
import { counterAt, DROPS_AT } from '../../src/base/counters.ts';
import { dropReason } from '../../src/base/drop-reason.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { trainOffsetsOf } from '../../src/pipeline/offsets.ts';
import { everyPort } from '../builder/every-port.ts';
import { DESTINATION4, DESTINATION6, randomShape, type Shape, superPacket } from '../builder/super-packet.ts';
import { decodeOuter } from '../check/outer.ts';
import { Random } from '../full/random.ts';
import { fillPartialChecksum, segmentSlowly, transportOf } from '../reference/segment.ts';
import { Rig, specOf, TUN } from './rig.ts';

const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;
const GSO_UDP_L4 = 5;

/** All ports of the builder's destinations, so that any super-packet is a service's. */
function spec(outer: 4 | 6, checksum: 'auto' | 'none' | 'full') {
  const base = specOf({ outer, checksum });
  const services = everyPort([DESTINATION4, DESTINATION6]);
  return { ...base, services };
}

function gsoTypeOf(shape: Shape): number {
  return shape.protocol === 17 ? GSO_UDP_L4 : shape.family === 4 ? GSO_TCPV4 : GSO_TCPV6;
}

/** The segments of packet 0 of the rig's batch, as an egress would send them. */
function leaving(rig: Rig): Uint8Array[] {
  return Array.from({ length: rig.batch.segmentCount[0] }, (_, k) => segmentBytes(rig.batch, 0, k));
}

function load(rig: Rig, packet: Uint8Array, shape: Shape): void {
  const { at, protocol } = transportOf(packet);
  const partial = packet.slice();
  fillPartialChecksum(partial);
  const csumOffset = protocol === 6 ? 16 : 6;
  const virtio = { flags: VIRTIO_NEEDS_CSUM, gsoType: gsoTypeOf(shape), gsoSize: shape.segmentSize, csumStart: at, csumOffset };
  rig.load([partial], [virtio]);
}

for (const outer of [4, 6] as const) {
  for (const checksum of ['none', 'full'] as const) {
    test(`trains over IPv${outer}, checksum ${checksum}: each segment is the twin's, encapsulated, all checksums right`, () => {
      const random = new Random(outer * 100 + (checksum === 'full' ? 1 : 2));
      const rig = new Rig(spec(outer, checksum), TUN, { records: 1100, capacity: 1 });
      let trains = 0;
      for (let n = 0; n < 120; n++) {
        const shape = randomShape(random, random.pick([4, 6] as const), random.pick([6, 17] as const));
        const packet = superPacket(shape);
        load(rig, packet, shape);
        rig.pipeline.process(rig.batch, 0);
        if (rig.batch.verdict[0] !== VERDICT_FORWARD) continue;
        const wanted = segmentSlowly(packet, shape.segmentSize);
        const got = leaving(rig);
        assert.equal(got.length, wanted.length);
        assert.equal(
          rig.batch.outLength[0],
          got.reduce((sum, segment) => sum + segment.length, 0),
        );
        got.forEach((segment, k) => {
          const decoded = decodeOuter(segment);
          assert.deepEqual(decoded.complaints, []);
          assert.equal(
            Buffer.compare(segment.subarray(outer === 4 ? 32 : 52), wanted[k]),
            0,
            `segment ${k} of ${JSON.stringify(shape)}`,
          );
        });
        rig.pipeline.account(rig.batch);
        trains++;
      }
      assert.ok(trains > 60, `${trains} of 120 were trains`);
      assert.equal(rig.bank[counterAt('segmented_packets_total')], trains);
      assert.equal(rig.bank[counterAt('forwarded_packets_total')], trains);
    });
  }
}

const SHAPE: Shape = {
  ...randomShape(new Random(1), 4, 6),
  payload: 14_480,
  segmentSize: 1448,
  finished: true,
};

test('the guard holds every record of a train against the columns and the bytes: one stale offset, and nothing leaves', () => {
  const wrongs: ((rig: Rig) => void)[] = [
    (rig) => (rig.batch.networkAt[0] -= 14),
    (rig) => (rig.batch.transportAt[0] -= 14),
    (rig) => (rig.batch.transportAt[0] += 14),
    (rig) => (rig.batch.transportAt[0] = rig.batch.networkAt[0]),
    (rig) => (rig.batch.pieceAt[0] += 2),
    (rig) => (rig.batch.pieceAt[7] += 2),
    (rig) => (rig.batch.pieceLength[4] -= 2),
    (rig) => (rig.batch.pieceHeader[0] -= 2),
    (rig) => (rig.batch.pieceHeader[5] = 32),
    (rig) => (rig.batch.recordAt[0] += RECORD_STRIDE * 2000),
    (rig) => (rig.batch.segmentCount[0] -= 1),
    (rig) => rig.batch.arena.view.setUint16(rig.batch.recordAt[0] + RECORD_STRIDE * 3 + 2, 40),
    (rig) => rig.batch.arena.view.setUint8(rig.batch.recordAt[0] + RECORD_STRIDE * 9 + 29, 41),
    (rig) => rig.batch.arena.view.setUint16(rig.batch.recordAt[0] + RECORD_STRIDE * 5 + 32 + 2, 1),
  ];
  for (const [n, wrong] of wrongs.entries()) {
    const rig = new Rig(spec(4, 'none'), TUN, { records: 64, capacity: 1 });
    load(rig, superPacket(SHAPE), SHAPE);
    rig.pipeline.process(rig.batch, 0);
    assert.equal(rig.batch.verdict[0], VERDICT_FORWARD);
    const agree = trainOffsetsOf(rig.batch);
    assert.equal(agree(0), true);
    wrong(rig);
    assert.equal(agree(0), false, `case ${n}`);
  }
});

test('a train: every column that a driver reads, wrong by any amount, is caught by the guard', () => {
  for (const outer of [4, 6] as const) {
    for (const column of ['outAt', 'outerNetworkAt', 'outerTransportAt', 'tunnelAt', 'outLength'] as const) {
      for (const by of [-RECORD_STRIDE, -70, -14, -4, -2, -1, 1, 2, 4, 14, 70, RECORD_STRIDE]) {
        const rig = new Rig(spec(outer, 'none'), TUN, { records: 64, capacity: 1 });
        load(rig, superPacket(SHAPE), SHAPE);
        rig.pipeline.process(rig.batch, 0);
        assert.equal(trainOffsetsOf(rig.batch)(0), true);
        rig.batch[column][0] += by;
        assert.equal(trainOffsetsOf(rig.batch)(0), false, `${column} ${by}`);
      }
    }
  }
});

test('a segment whose tunnel packet over IPv6 is just within its length field leaves, as a single packet of that length does', () => {
  const rig = new Rig(spec(6, 'none'), TUN, { records: 64, capacity: 1 });
  // The field leaves out the IPv6 header: 65,535 + 40 bytes at most, of which 52 are ours.
  const shape = { ...SHAPE, ipOptionWords: 0, tcpOptions: new Uint8Array(0), payload: 65_495, finished: true };
  const packet = superPacket(shape);
  const most = 65_535 + 40 - 52 - 40;
  const outcomes = [most - 1, most, most + 1].map((gsoSize) => rig.one(packet, { virtio: { gsoType: GSO_TCPV4, gsoSize } }));
  assert.deepEqual(
    outcomes.map((o) => o.verdict),
    ['forward', 'forward', 'forward'],
  );
  rig.one(packet, { virtio: { gsoType: GSO_TCPV4, gsoSize: most } });
  for (const segment of leaving(rig)) assert.deepEqual(decodeOuter(segment).complaints, []);
});

test('what can not be cut is dropped with its reason, and its neighbours leave', () => {
  const rig = new Rig(spec(4, 'none'), TUN, { records: 4, capacity: 4 });
  const packet = superPacket(SHAPE);
  const good = { gsoType: GSO_TCPV4, gsoSize: 8000 };
  const outcomes = rig.run([packet, packet, packet, packet], {
    virtio: [good, { gsoType: GSO_TCPV4, gsoSize: 1448 }, { gsoType: GSO_TCPV6, gsoSize: 8000 }, good],
  });
  assert.deepEqual(
    outcomes.map((o) => o.reason),
    ['none', 'super-packet', 'bad-virtio-header', 'none'],
  );
  const damaged = packet.slice();
  damaged[damaged.length - 1] ^= 1;
  assert.equal(rig.one(damaged, { virtio: good }).reason, 'super-packet-checksum');
  assert.equal(rig.bank[DROPS_AT + dropReason('super-packet-checksum')], 1);
  // TCP_MIN_MSS of Linux; and three records for each segment of 256 bytes.
  assert.ok(BATCH_RECORDS >= 64 * Math.ceil(65535 / 88), 'a whole batch of super-packets has records for the smallest segments');
  assert.ok(BATCH_RECORDS >= 64 * 3 * 256, 'and for fragments of larger ones');
});

test('a batch without trains after one with them: nothing of a train is left', () => {
  const rig = new Rig(spec(4, 'none'), TUN, { records: 64, capacity: 1 });
  load(rig, superPacket(SHAPE), SHAPE);
  rig.pipeline.process(rig.batch, 0);
  assert.equal(rig.batch.segmentCount[0], 10);
  const single = segmentSlowly(superPacket(SHAPE), 20_000)[0];
  rig.load([single]);
  rig.pipeline.process(rig.batch, 0);
  assert.deepEqual([rig.batch.trains, rig.batch.segmentCount[0], rig.batch.recordAt[0]], [0, 1, -1]);
  const out = rig.outcome(0);
  assert.equal(out.bytes?.length, single.length + 32);
  assert.deepEqual(decodeOuter(out.bytes as Uint8Array).complaints, []);
});

test('checksum auto over IPv4: trains have one exactly where the way out needs it, single packets never, and it is right', () => {
  for (const [checksum, trainsNeedChecksum, filled] of [
    ['auto', false, false],
    ['auto', true, true],
    ['none', true, false],
    ['full', false, true],
  ] as const) {
    const rig = new Rig(spec(4, checksum), TUN, { records: 64, capacity: 1, trainsNeedChecksum });
    load(rig, superPacket(SHAPE), SHAPE);
    rig.pipeline.process(rig.batch, 0);
    for (const segment of leaving(rig)) {
      assert.equal((segment[26] << 8) + segment[27] !== 0, filled, `${checksum} ${trainsNeedChecksum}`);
      assert.deepEqual(decodeOuter(segment).complaints, []);
    }
    const single = rig.one(segmentSlowly(superPacket(SHAPE), 20_000)[0]).bytes as Uint8Array;
    assert.equal((single[26] << 8) + single[27] !== 0, checksum === 'full');
  }
});
