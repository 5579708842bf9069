// The tap-offload egress: single packets by the contract, whole super-packets cut by the kernel, and refused by it when their offsets lie.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { counterAt, type FixedCounter } from '../../src/base/counters.ts';
import { VERDICT_DROP } from '../../src/base/verdict.ts';
import { linkByName } from '../../src/host/links.ts';
import { prepareOffloadDevice } from '../../src/host/offload-device.ts';
import { readSysctl } from '../../src/host/sysctl.ts';
import { HostWatch } from '../../src/host/watch.ts';
import { TapOffloadEgress } from '../../src/io/tap-offload/egress.ts';
import { superPacket } from '../builder/super-packet.ts';
import { Namespace, setSysctl } from '../host/namespace.ts';
import { needs } from '../needs.ts';
import { OffloadBench, sendStale, superFacts } from '../oracle/offload.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import { type EgressHarness, egressContract } from './driver.ts';
import { Capture, FAR4, FAR6, NEAR4, NEAR6, Wire } from './lab.ts';

const MTU = 9000;
const EINVAL = 22;
const options = needs('root', 'namespaces', 'tun', 'tunnel-gso');

function openLab(): EgressHarness {
  const wire = new Wire(MTU);
  const capture = wire.far.inside(() => new Capture('vb'));
  const egress = wire.near.inside(() => {
    const opened = new TapOffloadEgress({ device: 'gdx0' });
    prepareOffloadDevice('gdx0', true);
    return opened;
  });
  return {
    egress,
    address: (family) => (family === 4 ? { source: NEAR4, destination: FAR4 } : { source: NEAR6, destination: FAR6 }),
    arrived: (count) => capture.take(count),
    mtu: null,
    kernelHeader: false,
    unreachable: null,
    close() {
      egress.close();
      capture.close();
      wire.close();
    },
  };
}

const sizes = [60, 61, 100, 576, 1500, 1544, 8999, MTU];
egressContract('tap-offload', { needs: ['root', 'namespaces', 'tun', 'tunnel-gso'], open: openLab, sizes });

const SHAPE = {
  family: 4,
  protocol: 6,
  payload: 4000,
  segmentSize: 1400,
  flags: 0x18,
  reserved: 0,
  tcpOptions: new Uint8Array(0),
  ipOptionWords: 0,
  extensions: [],
  identification: 7,
  df: true,
  trafficClass: 0,
  ttl: 64,
  sequence: 1000,
  finished: false,
  zeroAt: -1,
  seed: 1,
} as const;

function bench(t: TestContext): OffloadBench {
  const opened = new OffloadBench();
  t.after(() => opened.close());
  return opened;
}

/** Inner payload bytes of a segment over IPv4 with no options anywhere. */
const payloadOf = (segment: Uint8Array) => segment.length - 20 - 8 - 4 - 40;

test('a super-packet leaves in one write, and the kernel makes the segments', options, (t) => {
  const lab = bench(t);
  for (const checksum of ['none', 'full'] as const) {
    const { whole } = lab.ways(4, checksum);
    lab.process(whole, superPacket(SHAPE), superFacts(superPacket(SHAPE), SHAPE));
    const { batch } = lab;
    assert.deepEqual([batch.recordAt[0], batch.segmentSize[0], batch.segmentCount[0], batch.outLength[0]], [-1, 1400, 3, 4072]);
    const sent = lab.send();
    assert.deepEqual(sent.segments.map(payloadOf), [1400, 1400, 1200]);
    for (const segment of sent.segments) {
      // The outer TTL that was built, though the kernel has taken one off; DF; every checksum right.
      assert.deepEqual([segment[8], segment[6]], [64, 0x40]);
      assert.equal(decodeTunnel(segment).hasChecksum, checksum === 'full');
    }
    whole.account(batch);
  }
});

test('the incident: a stale inner offset is refused by the guard, and without the guard by the kernel', options, (t) => {
  const lab = bench(t);
  const { whole } = lab.ways(4, 'none');
  const packet = superPacket(SHAPE);
  const guarded = sendStale(lab, whole, packet, superFacts(packet, SHAPE), -14, true);
  assert.deepEqual([guarded.reason, guarded.segments], ['tunnel-length', []]);
  const past = sendStale(lab, whole, packet, superFacts(packet, SHAPE), -14, false);
  assert.deepEqual([past.reason, past.segments], ['offload-refused', []]);
  assert.equal(lab.batch.verdict[0], VERDICT_DROP);
  assert.equal(lab.egress.lastErrno, EINVAL);
  // The next one is none the worse for it.
  lab.process(whole, packet, superFacts(packet, SHAPE));
  assert.equal(lab.send().segments.length, 3);
});

test('segments too big for the path become smaller ones, still uncut; the largest packets are cut in software', options, (t) => {
  const lab = bench(t);
  const { whole } = lab.ways(4, 'none', 1400);
  const packet = superPacket(SHAPE);
  lab.process(whole, packet, superFacts(packet, SHAPE));
  // 1,400 less 32 outer and 40 inner header bytes leave 1,328: four even parts.
  assert.deepEqual([lab.batch.recordAt[0], lab.batch.segmentSize[0], lab.batch.segmentCount[0]], [-1, 1000, 4]);
  const sent = lab.send();
  assert.deepEqual(sent.segments.map(payloadOf), [1000, 1000, 1000, 1000]);
  for (const segment of sent.segments) decodeTunnel(segment);

  const roomy = lab.ways(4, 'none').whole;
  for (const [length, isWhole] of [
    [65_503, true],
    [65_504, false],
  ] as const) {
    const large = { ...SHAPE, payload: length - 40 };
    lab.process(roomy, superPacket(large), superFacts(superPacket(large), large));
    const { whole: leftWhole, segments } = lab.send();
    assert.equal(leftWhole, isWhole, `${length} bytes and 32 of outer headers`);
    assert.equal(segments.length, 47);
    for (const segment of segments) decodeTunnel(segment);
  }
});

test('what the kernel must not be given whole is cut in software', options, (t) => {
  const lab = bench(t);
  const { whole } = lab.ways(6, 'full');
  // A finished checksum is verified by cutting: the kernel would make a damaged packet's checksums right.
  const finished = { ...SHAPE, finished: true };
  const packet = superPacket(finished);
  lab.process(whole, packet, superFacts(packet, finished));
  assert.ok(lab.batch.recordAt[0] >= 0);
  const sent = lab.send();
  assert.equal(sent.segments.length, 3);
  for (const segment of sent.segments) decodeTunnel(segment);
  packet[packet.length - 1] ^= 1;
  lab.process(whole, packet, superFacts(packet, finished));
  assert.equal(lab.send().reason, 'super-packet-checksum');
});

test('fragments of the tunnel packet leave as they are; segments that are told of stay uncut', options, (t) => {
  const lab = bench(t);
  const datagram = { ...SHAPE, protocol: 17, payload: 2000, df: false } as const;
  for (const outer of [4, 6] as const) {
    const { whole } = lab.ways(outer, 'full', 1500, 'fragment-outer');
    const packet = superPacket({ ...datagram, finished: true });
    lab.process(whole, packet, { ...superFacts(packet, datagram), flags: 0, gsoType: 0, gsoSize: 0 });
    const sent = lab.send();
    assert.equal(sent.reason, 'none');
    assert.equal(sent.segments.length, 2);
    for (const segment of sent.segments) assert.ok(segment.length <= 1500);
  }
  const { whole, bank } = lab.ways(4, 'none', 1400, 'segment-and-tell');
  const packet = superPacket(SHAPE);
  lab.process(whole, packet, superFacts(packet, SHAPE));
  assert.equal(lab.batch.answers, 1);
  const sent = lab.send();
  assert.deepEqual(sent.segments.map(payloadOf), [1000, 1000, 1000, 1000]);
  whole.account(lab.batch);
  assert.equal(bank[counterAt('too_big_answers_total')], 1);
});

test('offloaded packets and their segments are counted', options, (t) => {
  const lab = bench(t);
  const { whole, bank } = lab.ways(4, 'none');
  const packet = superPacket(SHAPE);
  lab.process(whole, packet, superFacts(packet, SHAPE));
  lab.send();
  whole.account(lab.batch);
  const count = (name: FixedCounter) => bank[counterAt(name)];
  assert.deepEqual(
    [count('offloaded_packets_total'), count('offloaded_segments_total'), count('segmented_packets_total')],
    [1, 3, 0],
  );
  // An ordinary packet behind it is none.
  const small = { ...SHAPE, payload: 100 };
  lab.process(whole, superPacket(small), { ...superFacts(superPacket(small), small), gsoType: 0, gsoSize: 0 });
  lab.send();
  whole.account(lab.batch);
  assert.deepEqual([count('offloaded_packets_total'), count('forwarded_packets_total')], [1, 2]);
});

test('the device needs nothing of the host’s, and is gone with its queues', options, (t) => {
  const space = new Namespace();
  t.after(() => space.close());
  space.inside(() => {
    const first = new TapOffloadEgress({ device: 'gdx0' });
    const second = new TapOffloadEgress({ device: 'gdx0' });
    prepareOffloadDevice('gdx0', true);
    const read = (path: string) => readSysctl(`net/${path}`);
    assert.deepEqual(['ipv4/conf/gdx0/accept_local', 'ipv4/conf/gdx0/rp_filter', 'ipv4/conf/gdx0/forwarding'].map(read), [
      '1',
      '0',
      '1',
    ]);
    const watch = new HostWatch();
    prepareOffloadDevice('gdx0', true);
    assert.equal(watch.poll().links, false, 'a second look changes nothing');
    setSysctl('net/ipv4/conf/gdx0/accept_local', 0);
    prepareOffloadDevice('gdx0', true);
    assert.equal(read('ipv4/conf/gdx0/accept_local'), '1');
    watch.close();
    first.close();
    assert.notEqual(linkByName('gdx0'), null);
    second.close();
    assert.equal(linkByName('gdx0'), null);
  });
});
