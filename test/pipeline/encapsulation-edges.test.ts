// Encapsulations at their edges: what the guard catches of each, what just fits, what is fragmented, sent again, or comes back.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropReason } from '../../src/base/drop-reason.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { VERDICT_DROP, VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { offsetsOf, trainOffsetsOf } from '../../src/pipeline/offsets.ts';
import type { ChecksumMode, Encapsulation } from '../../src/pipeline/spec.ts';
import { packet } from '../builder/packet.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import { withPartialChecksum } from '../reference/tunnel-writer.ts';
import { Rig, SERVICE4, SERVICE6, SOURCE4, SOURCE6, TUN } from './rig.ts';
import { KINDS, modesOf, specWith, tunnelOf } from './tunnels.ts';

const EACH = KINDS.flatMap((kind) => modesOf(kind).flatMap((mode) => ([4, 6] as const).map((outer) => ({ kind, mode, outer }))));

/** Bytes in front of the inner packet, by IPv4: docs/encapsulation.md. */
const BYTES: Readonly<Record<Encapsulation, number>> = { gue: 32, 'gue-v1': 28, fou: 28, ipip: 20, gre: 24 };

function overheadOf(kind: Encapsulation, mode: ChecksumMode, outer: 4 | 6, isPartial = false): number {
  const option = kind === 'gre' && mode === 'full' ? 4 : isPartial && mode === 'remcsum' ? 8 : 0;
  return BYTES[kind] + option + (outer === 4 ? 0 : 20);
}

const tcp = (family: 4 | 6, length: number, fields: { df?: boolean } = {}) =>
  (family === 4 ? packet().ipv4({ dst: SERVICE4, ...fields }) : packet().ipv6({ dst: SERVICE6 }))
    .tcp({ dport: 443 })
    .payload(length - (family === 4 ? 40 : 60))
    .bytes();

/** As a virtual machine on the same host sends it. */
function partial(bytes: Uint8Array) {
  const { packet: arrives, remoteChecksum } = withPartialChecksum(bytes);
  const { start, offset } = remoteChecksum;
  return { arrives, virtio: { flags: 1, csumStart: start, csumOffset: offset - start } };
}

test('every offset that is wrong, by any amount, is caught in every encapsulation', () => {
  for (const { kind, mode, outer } of EACH) {
    const rig = new Rig(specWith(outer, tunnelOf(kind, mode)));
    for (const family of [4, 6] as const) {
      const { arrives, virtio } = partial(tcp(family, 160));
      for (const column of [
        'outAt',
        'outerNetworkAt',
        'outerTransportAt',
        'tunnelAt',
        'networkAt',
        'outLength',
        'networkLength',
      ] as const) {
        for (const by of [-70, -14, -8, -4, -2, -1, 1, 2, 4, 8, 14, 70]) {
          rig.load([arrives], [virtio]);
          rig.pipeline.process(rig.batch, 0);
          assert.equal(offsetsOf(rig.batch)(0), true);
          rig.batch[column][0] += by;
          assert.equal(offsetsOf(rig.batch)(0), false, `${kind} ${mode} over IPv${outer}, IPv${family}: ${column} ${by}`);
        }
      }
    }
  }
});

test("the incident's stale offset is caught in every encapsulation, and so is a packet of another kind than its column says", () => {
  for (const { kind, mode, outer } of EACH) {
    const rig = new Rig(specWith(outer, tunnelOf(kind, mode)));
    rig.load([tcp(4, 1512)]);
    rig.pipeline.process(rig.batch, 0);
    const { batch } = rig;
    const agree = offsetsOf(batch);
    const right = { encapsulation: batch.encapsulation[0], networkAt: batch.networkAt[0] };
    batch.networkAt[0] = batch.outerTransportAt[0] + (0x44 - 0x46);
    assert.equal(agree(0), false);
    batch.networkAt[0] = right.networkAt;
    for (let other = 0; other < 8; other++) {
      // Variant 1 and FOU are the same bytes.
      if (other === right.encapsulation || ((other === 1 || other === 2) && (kind === 'gue-v1' || kind === 'fou'))) continue;
      batch.encapsulation[0] = other;
      assert.equal(agree(0), false, `${kind} as ${other}`);
    }
    batch.encapsulation[0] = right.encapsulation;
    assert.equal(agree(0), true);
  }
});

test('of a train, every offset of its first record and every length of a later one is caught in every encapsulation', () => {
  for (const { kind, mode, outer } of EACH) {
    const rig = new Rig(specWith(outer, tunnelOf(kind, mode)), TUN, { records: 32, capacity: 1 });
    const { arrives, virtio } = partial(tcp(4, 8000));
    const wrongs: ((by: number) => void)[] = [
      ...(['outAt', 'outerNetworkAt', 'outerTransportAt', 'tunnelAt', 'networkAt', 'outLength'] as const).map(
        (column) => (by: number) => {
          rig.batch[column][0] += by;
        },
      ),
      (by) => {
        rig.batch.pieceHeader[2] += by;
      },
      (by) => {
        const at = rig.batch.recordAt[0] + 256 + (outer === 4 ? 2 : 4);
        rig.batch.arena.view.setUint16(at, rig.batch.arena.view.getUint16(at) + by);
      },
    ];
    for (const [n, wrong] of wrongs.entries()) {
      for (const by of [-14, -4, 4, 14]) {
        rig.load([arrives], [{ ...virtio, gsoType: 1, gsoSize: 1400 }]);
        rig.pipeline.process(rig.batch, 0);
        assert.equal(trainOffsetsOf(rig.batch)(0), true);
        wrong(by);
        assert.equal(trainOffsetsOf(rig.batch)(0), false, `${kind} ${mode} over IPv${outer}: case ${n} by ${by}`);
      }
    }
  }
});

test("what just fits leaves whole and one byte more does not, by the backend's own bytes", () => {
  for (const { kind, mode, outer } of EACH) {
    for (const isPartial of [false, true]) {
      const rig = new Rig(specWith(outer, tunnelOf(kind, mode)), TUN, { records: 64, capacity: 1, pathMtu: 1500 });
      const fits = 1500 - overheadOf(kind, mode, outer, isPartial);
      for (const [length, segments] of [
        [fits, 1],
        [fits + 1, 2],
      ] as const) {
        const { arrives, virtio } = isPartial ? partial(tcp(4, length)) : { arrives: tcp(4, length), virtio: {} };
        const out = rig.one(arrives, { virtio });
        assert.equal(out.verdict, 'forward');
        const label = `${kind} ${mode} over IPv${outer}, ${length} bytes${isPartial ? ', partial' : ''}`;
        assert.equal(rig.batch.segmentCount[0], segments, label);
        for (let k = 0; k < segments; k++) {
          const bytes = segmentBytes(rig.batch, 0, k);
          assert.ok(bytes.length <= 1500, label);
          if (segments === 1) assert.equal(bytes.length, 1500, label);
          const read = decodeTunnel(bytes, { kind, remoteChecksum: true });
          assert.equal(read.remoteChecksum !== null, isPartial && mode === 'remcsum', label);
        }
      }
    }
  }
});

test('a partial packet that is fragmented inside leaves with its checksum finished, and says nothing of it', () => {
  const whole = packet().ipv4({ dst: SERVICE4, df: false }).udp({ dport: 443 }).payload(2500).bytes();
  const { arrives, virtio } = partial(whole);
  const rig = new Rig(specWith(4, tunnelOf('gue', 'remcsum')), TUN, { records: 64, capacity: 1, pathMtu: 1500 });
  assert.equal(rig.one(arrives, { virtio }).verdict, 'forward');
  const parts = Array.from({ length: rig.batch.segmentCount[0] }, (_, k) => {
    const read = decodeTunnel(segmentBytes(rig.batch, 0, k), { kind: 'gue', remoteChecksum: true });
    assert.equal(read.remoteChecksum, null);
    assert.equal(read.hasChecksum, true);
    return read.inner.subarray(20);
  });
  assert.equal(parts.length, 2);
  assert.equal(Buffer.compare(Buffer.concat(parts), whole.subarray(20)), 0);
  // The next packet of the batch's memory has the option again.
  const small = partial(packet().ipv4({ dst: SERVICE4 }).udp({ dport: 443 }).payload(25).bytes());
  const next = rig.one(small.arrives, { virtio: small.virtio });
  assert.notEqual(decodeTunnel(next.bytes!, { kind: 'gue', remoteChecksum: true }).remoteChecksum, null);
});

test('what was encapsulated with a partial checksum, and is then found too big, is cut as if that had been known', () => {
  for (const family of [4, 6] as const) {
    const whole = tcp(family, 1500);
    const { arrives, virtio } = partial(whole);
    const rig = new Rig(specWith(4, tunnelOf('gue', 'remcsum')), TUN, { records: 64, capacity: 1, pathMtu: 1600 });
    rig.load([arrives], [virtio]);
    rig.pipeline.process(rig.batch, 0);
    assert.equal(rig.batch.verdict[0], VERDICT_FORWARD);
    rig.batch.verdict[0] = VERDICT_DROP;
    rig.batch.reason[0] = dropReason('send-too-big');
    rig.pathMtu.fill(1400);
    assert.equal(
      rig.pipeline.setApart(rig.batch, 0, () => true),
      1,
    );
    rig.pipeline.account(rig.batch);
    rig.pipeline.again(rig.batch, 0);
    assert.equal(rig.batch.verdict[0], VERDICT_FORWARD);
    assert.equal(rig.batch.segmentCount[0], 2);
    const fresh = new Rig(specWith(4, tunnelOf('gue', 'remcsum')), TUN, { records: 64, capacity: 1, pathMtu: 1400 });
    fresh.one(arrives, { virtio });
    for (let k = 0; k < 2; k++) {
      const bytes = segmentBytes(rig.batch, 0, k);
      assert.equal(Buffer.compare(bytes, segmentBytes(fresh.batch, 0, k)), 0);
      decodeTunnel(bytes, { kind: 'gue', remoteChecksum: true });
    }
  }
});

test('our own packets of a tunnel without UDP, come back, are dropped as a loop where a service takes their protocol', () => {
  for (const [kind, protocols] of [
    ['gre', [47]],
    ['ipip', [4, 41]],
  ] as const) {
    for (const protocol of [4, 41, 47]) {
      const base = specWith(4, tunnelOf(kind, 'auto'));
      const services = base.services.map((service) => ({ ...service, protocol, portFrom: 0, portTo: 65535 }));
      const rig = new Rig({ ...base, services });
      const wanted = (protocols as readonly number[]).includes(protocol) ? 'encapsulation-loop' : 'none';
      const from4 = (src: string) => rig.one(packet().ipv4({ src, dst: SERVICE4, protocol }).payload(40).bytes()).reason;
      const from6 = (src: string) =>
        rig.one(packet().ipv6({ src, dst: SERVICE6, nextHeader: protocol }).payload(40).bytes()).reason;
      assert.deepEqual([from4(SOURCE4), from6(SOURCE6)], [wanted, wanted], `${kind} ${protocol}`);
      assert.deepEqual([from4('192.0.2.77'), from6('2001:db8::77')], ['none', 'none'], `${kind} ${protocol}`);
    }
  }
});

test('an inner header a word too far behind, where the bytes look like one and every end is right, is caught by the distance alone', () => {
  for (const { kind, mode, outer } of EACH) {
    const rig = new Rig(specWith(outer, tunnelOf(kind, mode)));
    // The identification, 4 bytes into the header, reads as version 4 with a header of 20 bytes.
    rig.load([packet().ipv4({ dst: SERVICE4, id: 0x4500 }).tcp({ dport: 443 }).payload(100).bytes()]);
    rig.pipeline.process(rig.batch, 0);
    const agree = offsetsOf(rig.batch);
    assert.equal(agree(0), true);
    rig.batch.networkAt[0] += 4;
    rig.batch.transportAt[0] += 4;
    rig.batch.networkLength[0] -= 4;
    assert.equal(agree(0), false, `${kind} ${mode} over IPv${outer}`);
  }
});
