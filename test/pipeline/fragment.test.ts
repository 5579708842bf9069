// Fragments, of clients' packets and of tunnel packets, through the whole path: what leaves is what the slow twins make of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RECORD_STRIDE } from '../../src/base/arena.ts';
import { VIRTIO_NEEDS_CSUM } from '../../src/base/batch.ts';
import { counterAt, DROPS_AT, SERVICES_AT } from '../../src/base/counters.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_REPLY } from '../../src/base/verdict.ts';
import { NOTE_LARGEST, NOTE_TIMES, NOTE_WORDS } from '../../src/pipeline/cut-notes.ts';
import { Identifiers } from '../../src/pipeline/identifiers.ts';
import { fragmentOffsetsOf } from '../../src/pipeline/offsets.ts';
import { ReplyRate } from '../../src/pipeline/reply-rate.ts';
import type { ChecksumMode, Oversize } from '../../src/pipeline/spec.ts';
import { packet } from '../builder/packet.ts';
import { DESTINATION4, DESTINATION6, randomShape, type Shape, superPacket } from '../builder/super-packet.ts';
import { decodeOuter } from '../check/outer.ts';
import { Random } from '../full/random.ts';
import { naiveChecksum } from '../reference/checksum.ts';
import { fragmentSlowly } from '../reference/fragment4.ts';
import { fragmentSlowly6 } from '../reference/fragment6.ts';
import { fillPartialChecksum, fillTransportChecksum, segmentSlowly, transportOf } from '../reference/segment.ts';
import { PACKET, Rig, SERVICE4, SERVICE6, specOf, TUN, type Virtio } from './rig.ts';

interface Way {
  readonly outer?: 4 | 6;
  readonly pathMtu: number;
  readonly oversize?: Oversize;
  readonly checksum?: ChecksumMode;
  readonly facts?: typeof TUN;
  readonly records?: number;
  readonly replyRate?: ReplyRate;
  readonly outerFragments?: boolean;
}

function rigOf({
  outer = 4,
  pathMtu,
  oversize = 'segment',
  checksum = 'full',
  facts = TUN,
  records = 2200,
  replyRate,
  outerFragments = false,
}: Way): Rig {
  const base = specOf({ outer, checksum, oversize });
  const services = [6, 17].flatMap((protocol) =>
    [
      { bytes: DESTINATION4, length: 32 },
      { bytes: DESTINATION6, length: 128 },
      ...base.services.map((service) => service.prefix),
    ].map((prefix, n) => ({ ...base.services[0], name: `s${protocol}-${n}`, prefix, protocol, portFrom: 0, portTo: 65535 })),
  );
  const rate = replyRate === undefined ? {} : { replyRate };
  return new Rig({ ...base, services }, facts, { records, capacity: 1, pathMtu, outerFragments, ...rate });
}

/** What packet 0 leaves as. */
function leaving(rig: Rig): Uint8Array[] {
  assert.equal(rig.batch.verdict[0], VERDICT_FORWARD);
  const parts = Array.from({ length: rig.batch.segmentCount[0] }, (_, k) => segmentBytes(rig.batch, 0, k));
  assert.equal(
    rig.batch.outLength[0],
    parts.reduce((sum, part) => sum + part.length, 0),
  );
  return parts;
}

/** Inner packets of what leaves, each tunnel packet decoded without complaint and no longer than the path. */
function unwrapped(rig: Rig, pathMtu: number): Uint8Array[] {
  return leaving(rig).map((part) => {
    assert.ok(part.length <= pathMtu, `${part.length} bytes for a path of ${pathMtu}`);
    const { inner, complaints } = decodeOuter(part, { innerTransport: false });
    assert.deepEqual(complaints, []);
    return inner;
  });
}

function assertSame(got: readonly Uint8Array[], wanted: readonly Uint8Array[], what: string): void {
  assert.equal(got.length, wanted.length, what);
  got.forEach((bytes, k) => {
    assert.equal(Buffer.compare(bytes, wanted[k]), 0, `part ${k} of ${what}`);
  });
}

/** A super-packet as a device delivers it, and what its segments are once cut. */
function merged(shape: Shape): { bytes: Uint8Array; virtio: Virtio; segments: Uint8Array[] } {
  const whole = superPacket({ ...shape, finished: true, zeroAt: -1 });
  const { at, protocol } = transportOf(whole);
  const bytes = whole.slice();
  fillPartialChecksum(bytes);
  const gsoType = protocol === 17 ? 5 : shape.family === 4 ? 1 : 4;
  const csumOffset = protocol === 17 ? 6 : 16;
  const virtio = { flags: VIRTIO_NEEDS_CSUM, gsoType, gsoSize: shape.segmentSize, csumStart: at, csumOffset };
  return { bytes, virtio, segments: segmentSlowly(whole, shape.segmentSize) };
}

const counted = (rig: Rig, name: Parameters<typeof counterAt>[0]): number => rig.bank[counterAt(name)];

for (const outer of [4, 6] as const) {
  test(`IPv4 without DF over IPv${outer}: fragments as the twin makes them, outer checksums right`, () => {
    const random = new Random(500 + outer);
    let fragmented = 0;
    for (let n = 0; n < 150; n++) {
      const pathMtu = random.pick([1500, 1499, 1400, 1281, 1052, 9000]);
      const innerMtu = pathMtu - (outer === 4 ? 32 : 52);
      const oversize = random.pick(['segment', 'segment-and-tell', 'icmp', 'fragment-inner'] as const);
      const rig = rigOf({ outer, pathMtu, oversize });
      const shape: Shape = {
        ...randomShape(random, 4, oversize === 'fragment-inner' ? random.pick([6, 17] as const) : 17),
        payload: random.chance(4) ? 65_536 : innerMtu - 100 + random.below(3 * innerMtu),
        df: false,
        finished: true,
        zeroAt: -1,
      };
      const input = superPacket(shape);
      rig.load([input]);
      rig.pipeline.process(rig.batch, 0);
      const wanted = fragmentSlowly(input, innerMtu, 1);
      assertSame(unwrapped(rig, pathMtu), wanted, JSON.stringify(shape));
      rig.pipeline.account(rig.batch);
      assert.equal(counted(rig, 'fragmented_inner_packets_total'), wanted.length > 1 ? 1 : 0);
      assert.equal(counted(rig, 'too_big_answers_total'), 0);
      fragmented += wanted.length > 1 ? 1 : 0;
    }
    assert.ok(fragmented > 100, `${fragmented} of 150`);
  });

  test(`super-packets of IPv4 without DF over IPv${outer}: each segment is fragmented`, () => {
    const random = new Random(600 + outer);
    let parts = 0;
    for (let n = 0; n < 60; n++) {
      const pathMtu = random.pick([1500, 1400, 1052]);
      const innerMtu = pathMtu - (outer === 4 ? 32 : 52);
      const shape: Shape = {
        ...randomShape(random, 4, random.pick([6, 17, 17] as const)),
        payload: 3000 + random.below(62_000),
        segmentSize: random.pick([1472, 1460, 1453, 4000, 8972]),
        identification: random.pick([0, 1, 65_530]),
        df: false,
      };
      const { bytes, virtio, segments } = merged(shape);
      const rig = rigOf({ outer, pathMtu, oversize: 'fragment-inner' });
      rig.load([bytes], [virtio]);
      rig.pipeline.process(rig.batch, 0);
      const wanted = segments.flatMap((segment, k) => fragmentSlowly(segment, innerMtu, k + 1));
      assertSame(unwrapped(rig, pathMtu), wanted, JSON.stringify(shape));
      rig.pipeline.account(rig.batch);
      assert.equal(counted(rig, 'segmented_packets_total'), 1);
      assert.equal(counted(rig, 'segments_sent_total'), wanted.length);
      parts += wanted.length;
    }
    assert.ok(parts > 1500, `${parts} fragments`);
  });

  test(`tunnel packets over IPv${outer}: their fragments are the twin's, of single packets and of each segment`, () => {
    const random = new Random(700 + outer);
    let fragmented = 0;
    for (let n = 0; n < 120; n++) {
      const pathMtu = random.pick([1500, 1499, 1400, 1281, 9000]);
      const isMerged = random.chance(3);
      const shape: Shape = {
        ...randomShape(random, 4, random.pick([6, 17] as const)),
        payload: isMerged ? 65_000 : pathMtu - 100 + random.below(6 * pathMtu),
        segmentSize: random.pick([1472, 1453, 4000, 8972]),
        df: false,
        finished: !isMerged,
        zeroAt: -1,
      };
      const checksum = random.pick(['full', 'none'] as const);
      const { bytes, virtio } = isMerged ? merged(shape) : { bytes: superPacket(shape), virtio: {} };
      // The same packet where there is room for it.
      const roomy = rigOf({ outer, checksum, pathMtu: 0 });
      const rig = rigOf({ outer, checksum, pathMtu, oversize: 'fragment-outer' });
      for (const each of [roomy, rig]) {
        each.load([bytes], [virtio]);
        each.pipeline.process(each.batch, 0);
      }
      let identifier = 0;
      const numbers = new Identifiers();
      const wanted = leaving(roomy).flatMap((whole) => {
        if (whole.length <= pathMtu) return [whole];
        identifier++;
        if (outer === 6) return fragmentSlowly6(whole, pathMtu, identifier);
        const cleared = whole.slice();
        cleared[6] = 0;
        cleared.set([0, 0], 10);
        const sum = naiveChecksum(cleared, 0, 20);
        cleared.set([sum >> 8, sum & 255], 10);
        return fragmentSlowly(cleared, pathMtu, numbers.between4(new DataView(cleared.buffer).getInt32(16)));
      });
      assertSame(leaving(rig), wanted, JSON.stringify(shape));
      rig.pipeline.account(rig.batch);
      const does = identifier > 0 ? 1 : 0;
      assert.equal(counted(rig, 'fragmented_outer_packets_total'), does);
      assert.equal(counted(rig, 'fragmented_inner_packets_total'), 0);
      assert.equal(
        counted(rig, 'forwarded_bytes_total'),
        wanted.reduce((sum, part) => sum + part.length, 0),
      );
      fragmented += does;
    }
    assert.ok(fragmented > 80, `${fragmented} of 120`);
  });
}

const udp4 = (payload: number, fields: { df?: boolean; id?: number; ttl?: number } = {}) =>
  packet()
    .ipv4({ dst: SERVICE4, df: false, ...fields })
    .udp({ dport: 443 })
    .payload(payload)
    .bytes();
const tcp4 = (df: boolean) =>
  packet().ipv4({ dst: SERVICE4, df, tos: 3 }).tcp({ sport: 40000, dport: 443, flags: 'ACK' }).payload(1460).bytes();
const tcp6 = () => packet().ipv6({ dst: SERVICE6 }).tcp({ sport: 40000, dport: 443, flags: 'ACK' }).payload(1440).bytes();
const signed = (df: boolean) =>
  packet()
    .ipv4({ dst: SERVICE4, df })
    .tcp({ dport: 443, flags: 'ACK', options: Uint8Array.of(1, 1, 19, 18, ...new Uint8Array(16)) })
    .payload(1440)
    .bytes();
const udp6 = (payload: number) => packet().ipv6({ dst: SERVICE6 }).udp({ dport: 443 }).payload(payload).bytes();

/** What a policy makes of each kind of packet that is too big, as docs/oversize.md has it. */
const TABLE: [Oversize, Record<string, string>][] = [
  ['segment', { cutDf: 'cut', cutNoDf: 'cut', cut6: 'cut', noDf: 'inner', df: 'told', ip6: 'told' }],
  ['segment-and-tell', { cutDf: 'cut told', cutNoDf: 'cut', cut6: 'cut told', noDf: 'inner', df: 'told', ip6: 'told' }],
  ['icmp', { cutDf: 'told', cutNoDf: 'inner', cut6: 'told', noDf: 'inner', df: 'told', ip6: 'told' }],
  ['fragment-inner', { cutDf: 'cut', cutNoDf: 'inner', cut6: 'cut', noDf: 'inner', df: 'told', ip6: 'told' }],
  ['fragment-outer', { cutDf: 'cut', cutNoDf: 'outer', cut6: 'cut', noDf: 'outer', df: 'told', ip6: 'told' }],
  ['drop', { cutDf: 'lost', cutNoDf: 'lost', cut6: 'lost', noDf: 'lost', df: 'lost', ip6: 'lost' }],
];

test('every policy does with every kind of packet what its row says', () => {
  const kinds: Record<string, Uint8Array[]> = {
    cutDf: [tcp4(true)],
    cutNoDf: [tcp4(false)],
    cut6: [tcp6()],
    noDf: [udp4(1472), signed(false)],
    df: [udp4(1472, { df: true }), signed(true)],
    ip6: [udp6(1452)],
  };
  for (const [oversize, row] of TABLE)
    for (const [kind, word] of Object.entries(row))
      for (const input of kinds[kind]) {
        const rig = rigOf({ pathMtu: 1500, oversize });
        rig.run([input]);
        const did = [
          ['cut', 'resegmented_packets_total'],
          ['inner', 'fragmented_inner_packets_total'],
          ['outer', 'fragmented_outer_packets_total'],
          ['told', 'too_big_answers_total'],
        ] as const;
        const words = did.filter(([, name]) => counted(rig, name) === 1).map(([what]) => what as string);
        let drops = 0;
        for (let at = DROPS_AT; at < SERVICES_AT; at++) drops += rig.bank[at];
        if (drops === 1) words.push('lost');
        assert.equal(words.join(' '), word, `${oversize}: ${kind}`);
        const reply = word === 'told';
        assert.equal(rig.batch.verdict[0], reply ? VERDICT_REPLY : word === 'lost' ? VERDICT_DROP : VERDICT_FORWARD);
      }
});

test('congestion experienced stays on all parts; the hop is counted once in each', () => {
  for (const oversize of ['fragment-inner', 'fragment-outer'] as const) {
    const frame = packet()
      .ethernet()
      .ipv4({ dst: SERVICE4, df: false, ttl: 9, tos: 3 })
      .udp({ dport: 443 })
      .payload(3000)
      .bytes();
    const rig = rigOf({ pathMtu: 1500, oversize, facts: PACKET });
    rig.load([frame]);
    rig.pipeline.process(rig.batch, 0);
    const parts = leaving(rig);
    assert.equal(parts.length, 3);
    for (const [k, part] of parts.entries()) {
      assert.equal(part[1] & 3, 3, 'CE');
      if (oversize === 'fragment-outer' && k > 0) continue;
      assert.equal(part[32 + 8], 8);
      assert.equal(part[32 + 1] & 3, 3);
    }
  }
});

test('fragment-outer: what no tunnel packet can carry is fragmented inside; what may not be answered is fragmented outside', () => {
  const rig = rigOf({ pathMtu: 1500, oversize: 'fragment-outer' });
  for (const [payload, inner, outer] of [
    [65_475, 0, 1],
    [65_476, 1, 1],
    [65_507, 2, 1],
  ]) {
    rig.run([udp4(payload)]);
    assert.equal(counted(rig, 'fragmented_inner_packets_total'), inner, `${payload}`);
    assert.equal(counted(rig, 'fragmented_outer_packets_total'), outer, `${payload}`);
  }
  // IPv6 can not be asked for less than 1,280 bytes (RFC 2473 §7.1), and a limit on answers is no reason to lose a packet.
  const small = rigOf({ pathMtu: 1280, outer: 6, oversize: 'fragment-outer' });
  small.run([udp6(1200)]);
  assert.equal(counted(small, 'fragmented_outer_packets_total'), 1);
  assert.equal(small.batch.segmentCount[0], 2);
  const replyRate = new ReplyRate({ perSecond: 1, burst: 1, destinationPerSecond: 1, destinationBurst: 1 });
  const limited = rigOf({ pathMtu: 1500, oversize: 'fragment-outer', replyRate });
  assert.equal(limited.one(udp6(1452)).verdict, 'reply');
  assert.equal(limited.one(udp6(1452)).verdict, 'forward');
  assert.equal(limited.batch.segmentCount[0], 2);
});

test('IPv6 of 1,280 bytes or less is not lost on a smaller path: no answer could make it smaller', () => {
  for (const oversize of ['segment', 'segment-and-tell', 'icmp', 'fragment-inner', 'drop'] as const) {
    for (const [outerFragments, payload, verdict] of [
      [true, 1200, oversize === 'drop' ? 'drop' : 'forward'],
      [false, 1200, 'drop'],
      [true, 1240, oversize === 'drop' ? 'drop' : 'reply'],
    ] as const) {
      const rig = rigOf({ pathMtu: 1280, outer: 6, oversize, outerFragments });
      assert.equal(rig.one(udp6(payload)).verdict, verdict, `${oversize}, ${payload}, ${outerFragments}`);
      const wanted = verdict === 'forward' ? 1 : 0;
      assert.equal(counted(rig, 'fragmented_outer_packets_total'), wanted);
      if (wanted === 0) continue;
      const parts = leaving(rig);
      assert.equal(parts.length, 2);
      for (const part of parts) assert.ok(part.length <= 1280);
    }
  }
});

test('whatever was cut or fragmented for its size is noted for its backend, once; what was answered is not', () => {
  const replyRate = new ReplyRate({ perSecond: 1, burst: 1, destinationPerSecond: 1, destinationBurst: 1 });
  for (const [oversize, noDf, df] of [
    ['segment', 1, 0],
    ['fragment-inner', 1, 0],
    ['fragment-outer', 1, 1],
  ] as const) {
    const cutNotes = new Int32Array(new SharedArrayBuffer(64 * NOTE_WORDS * 4));
    const base = specOf({ oversize, protocol: 17 });
    const rig = new Rig(base, TUN, { records: 100, capacity: 1, pathMtu: 1500, replyRate, cutNotes });
    const times = () => cutNotes.reduce((sum, word, at) => sum + (at % NOTE_WORDS === NOTE_TIMES ? word : 0), 0);
    const largest = () => Math.max(...cutNotes.filter((_, at) => at % NOTE_WORDS === NOTE_LARGEST));
    assert.equal(rig.one(udp4(1452)).verdict, 'forward');
    assert.deepEqual([times(), largest()], [noDf, 1452 + 28 + 32], oversize);
    // The first may be answered, the next ones not.
    rig.one(udp4(1453, { df: true }));
    const before = times();
    const second = rig.one(udp4(1454, { df: true }));
    assert.equal(second.verdict, df === 1 ? 'forward' : 'drop', oversize);
    assert.equal(times() - before, df, oversize);
  }
});

test('without room for records a packet is dropped, and the next batch is as if nothing had been', () => {
  for (const oversize of ['fragment-inner', 'fragment-outer'] as const) {
    const rig = rigOf({ pathMtu: 1500, oversize, records: 2 });
    assert.equal(rig.one(udp4(4000)).reason, 'too-big');
    assert.equal(rig.one(udp4(1000)).verdict, 'forward');
    assert.deepEqual([rig.batch.trains, rig.batch.segmentCount[0], rig.batch.recordAt[0]], [0, 1, -1]);
    assert.equal(rig.one(udp4(2000)).verdict, 'forward');
    assert.equal(rig.batch.segmentCount[0], 2);
  }
});

test('nothing of a batch is left in the next one; fragments have no one size', () => {
  const rig = new Rig(specOf({ oversize: 'fragment-outer', protocol: 17 }), TUN, { records: 100, capacity: 2, pathMtu: 1500 });
  rig.run([udp4(2000), udp4(2000)]);
  assert.equal(rig.batch.outerFragmented, 2);
  rig.run([udp4(100), udp4(2000)]);
  assert.deepEqual([...rig.batch.recordAt.subarray(0, 2)], [-1, rig.batch.arena.recordsAt]);
  assert.deepEqual([rig.batch.trains, rig.batch.outerFragmented, rig.batch.recordsUsed], [1, 1, 2]);
  assert.equal(counted(rig, 'fragmented_outer_packets_total'), 3);
  for (const oversize of ['fragment-inner', 'fragment-outer'] as const) {
    const { bytes, virtio } = merged({ ...randomShape(new Random(1), 4, 17), payload: 6000, segmentSize: 2000, df: false });
    const train = rigOf({ pathMtu: 1500, oversize });
    train.one(bytes, { virtio });
    assert.deepEqual([train.batch.segmentCount[0], train.batch.segmentSize[0]], [6, 0]);
  }
});

test('the guard holds fragments of tunnel packets against each other: one that is not where its offset says, and nothing leaves', () => {
  for (const outer of [4, 6] as const) {
    const wrongs: ((rig: Rig) => void)[] = [
      (rig) => (rig.batch.pieceAt[0] -= 14),
      (rig) => (rig.batch.pieceAt[1] += 8),
      (rig) => (rig.batch.pieceLength[2] -= 8),
      (rig) => (rig.batch.pieceHeader[1] += 8),
      (rig) => (rig.batch.segmentCount[0] -= 1),
      (rig) => (rig.batch.recordAt[0] += RECORD_STRIDE),
      (rig) => (rig.batch.recordAt[0] = 0),
      (rig) => rig.batch.arena.view.setUint8(rig.batch.recordAt[0] + RECORD_STRIDE + (outer === 4 ? 7 : 43), 0),
      (rig) => rig.batch.arena.view.setUint8(rig.batch.recordAt[0] + RECORD_STRIDE + (outer === 4 ? 3 : 5), 1),
      (rig) => rig.batch.arena.view.setUint8(rig.batch.recordAt[0], 0),
    ];
    for (const [n, wrong] of wrongs.entries()) {
      const rig = rigOf({ outer, pathMtu: 1500, oversize: 'fragment-outer' });
      rig.load([udp4(4000)]);
      rig.pipeline.process(rig.batch, 0);
      assert.equal(rig.batch.segmentCount[0], 3);
      const agree = fragmentOffsetsOf(rig.batch);
      assert.equal(agree(0), true);
      wrong(rig);
      assert.equal(agree(0), false, `case ${n} over IPv${outer}`);
    }
  }
});

test('damage stays damage: a datagram with a wrong checksum is fragmented as it is', () => {
  const input = udp4(3000);
  input[1000] ^= 1;
  for (const oversize of ['fragment-inner', 'fragment-outer'] as const) {
    const rig = rigOf({ pathMtu: 1500, oversize });
    rig.load([input]);
    rig.pipeline.process(rig.batch, 0);
    const parts = leaving(rig);
    if (oversize === 'fragment-inner') assertSame(unwrapped(rig, 1500), fragmentSlowly(input, 1468, 1), 'damaged');
    assert.equal(parts.length, 3);
  }
  const fixed = input.slice();
  fillTransportChecksum(fixed);
  assert.notEqual(Buffer.compare(fixed, input), 0);
});
