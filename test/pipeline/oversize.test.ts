// Packets too big for their tunnel through the whole path: what is cut is what the slow twin cuts, what is not is answered or dropped.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VIRTIO_NEEDS_CSUM } from '../../src/base/batch.ts';
import { counterAt, DROPS_AT } from '../../src/base/counters.ts';
import { dropReason } from '../../src/base/drop-reason.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { VERDICT_FORWARD } from '../../src/base/verdict.ts';
import { ReplyRate } from '../../src/pipeline/reply-rate.ts';
import type { Oversize } from '../../src/pipeline/spec.ts';
import { packet, type TcpFields } from '../builder/packet.ts';
import { DESTINATION4, DESTINATION6, randomShape, type Shape, superPacket } from '../builder/super-packet.ts';
import { decodeOuter } from '../check/outer.ts';
import { Random } from '../full/random.ts';
import { fillPartialChecksum, fillTransportChecksum, segmentSlowly, transportOf } from '../reference/segment.ts';
import { tooBigAnswer } from '../reference/too-big.ts';
import { PACKET, Rig, SERVICE4, SERVICE6, specOf, TUN } from './rig.ts';

const UNSAFE_FLAGS = 0x26; // SYN, RST, URG

function rigOf(outer: 4 | 6, pathMtu: number, oversize: Oversize = 'segment', replyRate?: ReplyRate, facts = TUN): Rig {
  const base = specOf({ outer, checksum: 'full', oversize });
  const services = [6, 17].flatMap((protocol) =>
    [
      { bytes: DESTINATION4, length: 32 },
      { bytes: DESTINATION6, length: 128 },
      ...base.services.map((service) => service.prefix),
    ].map((prefix, n) => ({ ...base.services[0], name: `s${protocol}-${n}`, prefix, protocol, portFrom: 0, portTo: 65535 })),
  );
  const rate = replyRate === undefined ? {} : { replyRate };
  return new Rig({ ...base, services }, facts, { records: 1100, capacity: 1, pathMtu, ...rate });
}

/** The segments of packet 0 as an egress would send them, each decoded without complaint and no larger than the path; inner packets. */
function leaving(rig: Rig, outer: 4 | 6, pathMtu: number): Uint8Array[] {
  assert.equal(rig.batch.verdict[0], VERDICT_FORWARD);
  return Array.from({ length: rig.batch.segmentCount[0] }, (_, k) => {
    const segment = segmentBytes(rig.batch, 0, k);
    assert.ok(segment.length <= pathMtu, `${segment.length} bytes for a path of ${pathMtu}`);
    assert.deepEqual(decodeOuter(segment).complaints, []);
    return segment.subarray(outer === 4 ? 32 : 52);
  });
}

function headerLengthOf(bytes: Uint8Array): number {
  const { at } = transportOf(bytes);
  return at + (bytes[at + 12] >> 4) * 4;
}

/** `got` is the answer to `input` that names `innerMtu`, as the twin writes it; the identification is free. */
function assertAnswer(got: Uint8Array, input: Uint8Array, innerMtu: number, what = ''): void {
  const identifier = input[0] >> 4 === 4 ? got[4] * 256 + got[5] : 0;
  assert.deepEqual(Buffer.from(got), Buffer.from(tooBigAnswer(input, innerMtu, identifier) as Uint8Array), what);
}

/** As few segments as fit, as even as they go: counted up, not computed. */
function evenly(payload: number, most: number): number {
  let count = 1;
  while (count * most < payload) count++;
  let size = 0;
  while (size * count < payload) size++;
  return size;
}

const PLAIN = [
  { name: 'none', bytes: new Uint8Array(0) },
  { name: 'timestamps', bytes: Uint8Array.of(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8) },
  { name: 'SACK', bytes: Uint8Array.of(1, 1, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8) },
  { name: 'MPTCP', bytes: Uint8Array.of(30, 20, 0x20, 5, ...new Uint8Array(16).fill(7)) },
  { name: 'end of list', bytes: Uint8Array.of(1, 0, 19, 99) },
];

for (const outer of [4, 6] as const) {
  test(`single packets over IPv${outer} are cut evenly, each part as the twin says`, () => {
    const random = new Random(31 + outer);
    let cut = 0;
    for (let n = 0; n < 150; n++) {
      const pathMtu = random.pick([1500, 1500, 1400, 1280, 1052, 9000]);
      const innerMtu = pathMtu - (outer === 4 ? 32 : 52);
      const rig = rigOf(outer, pathMtu);
      const shape: Shape = {
        ...randomShape(random, random.pick([4, 6] as const), 6),
        payload: innerMtu - 450 + random.below(1500),
        flags: random.pick([0x10, 0x18, 0x11, 0x50, 0x90, 0xd9]),
        reserved: random.below(2),
        tcpOptions: random.pick(PLAIN).bytes,
        trafficClass: random.below(256),
        finished: true,
        zeroAt: -1,
      };
      const input = superPacket(shape);
      const headers = headerLengthOf(input);
      rig.load([input]);
      rig.pipeline.process(rig.batch, 0);
      const parts = leaving(rig, outer, pathMtu);
      const fits = input.length <= innerMtu;
      const wanted = fits ? [input] : segmentSlowly(input, evenly(input.length - headers, innerMtu - headers));
      assert.equal(parts.length, wanted.length);
      parts.forEach((part, k) => {
        assert.equal(Buffer.compare(part, wanted[k]), 0, `part ${k} of ${JSON.stringify(shape)}`);
      });
      rig.pipeline.account(rig.batch);
      assert.equal(rig.bank[counterAt('resegmented_packets_total')], fits ? 0 : 1);
      assert.equal(rig.bank[counterAt('segmented_packets_total')], 0, 'no super-packet');
      assert.equal(rig.bank[counterAt('segments_sent_total')], fits ? 0 : parts.length);
      assert.equal(rig.bank[counterAt('forwarded_packets_total')], 1);
      cut += fits ? 0 : 1;
    }
    assert.ok(cut > 90 && cut < 150, `${cut} of 150 were cut`);
  });

  test(`super-packets over IPv${outer}: segments that do not fit become smaller, others stay what they are`, () => {
    const random = new Random(77 + outer);
    const innerMtu = 1500 - (outer === 4 ? 32 : 52);
    let lowered = 0;
    for (let n = 0; n < 80; n++) {
      const rig = rigOf(outer, 1500);
      const family = random.pick([4, 6] as const);
      const shape: Shape = {
        ...randomShape(random, family, 6),
        payload: 3000 + random.below(60_000),
        segmentSize: random.pick([1448, 1428, 1360, 1400, 1380, 8948]),
        flags: 0x98,
        reserved: 0,
        tcpOptions: PLAIN[1].bytes,
      };
      const input = superPacket(shape);
      const { at } = transportOf(input);
      const partial = input.slice();
      fillPartialChecksum(partial);
      const gsoType = family === 4 ? 1 : 4;
      rig.load([partial], [{ flags: VIRTIO_NEEDS_CSUM, gsoType, gsoSize: shape.segmentSize, csumStart: at, csumOffset: 16 }]);
      rig.pipeline.process(rig.batch, 0);
      const parts = leaving(rig, outer, 1500);
      const headers = headerLengthOf(input);
      const whole = input.slice();
      fillTransportChecksum(whole);
      const fits = headers + shape.segmentSize <= innerMtu;
      const size = fits ? shape.segmentSize : evenly(input.length - headers, innerMtu - headers);
      const wanted = segmentSlowly(whole, size);
      assert.equal(parts.length, wanted.length);
      parts.forEach((part, k) => {
        assert.equal(Buffer.compare(part, wanted[k]), 0);
      });
      rig.pipeline.account(rig.batch);
      assert.equal(rig.bank[counterAt('resegmented_packets_total')], fits ? 0 : 1);
      assert.equal(rig.bank[counterAt('segmented_packets_total')], 1);
      lowered += fits ? 0 : 1;
    }
    assert.ok(lowered > 20 && lowered < 80, `${lowered} of 80`);
  });
}

const ETHERTYPE: Record<number, number[]> = { 4: [8, 0], 6: [0x86, 0xdd] };
const tcp4 = (fields: TcpFields = {}, payload = 1440) =>
  packet()
    .ipv4({ dst: SERVICE4, df: true, tos: 3 })
    .tcp({ sport: 40000, dport: 443, flags: 'ACK', ...fields })
    .payload(payload)
    .bytes();
const tcp6 = (fields: TcpFields = {}, payload = 1440) =>
  packet()
    .ipv6({ dst: SERVICE6, trafficClass: 3 })
    .tcp({ sport: 40000, dport: 443, flags: 'ACK', ...fields })
    .payload(payload)
    .bytes();

test('1,500 bytes on a path of 1,500: 750 and 750, congestion marked on both', () => {
  const rig = rigOf(4, 1500);
  rig.load([tcp4({}, 1460)]);
  rig.pipeline.process(rig.batch, 0);
  const parts = leaving(rig, 4, 1500);
  assert.deepEqual(
    parts.map((part) => part.length),
    [770, 770],
  );
  for (const part of parts) assert.equal(part[1] & 3, 3, 'CE');
});

test('one byte decides, and a path that is not known limits nothing', () => {
  for (const [outer, frame] of [
    [4, tcp4],
    [6, tcp6],
  ] as const) {
    const input = frame({}, 1300);
    const needed = input.length + (outer === 4 ? 32 : 52);
    for (const [pathMtu, segments] of [
      [needed, 1],
      [needed - 1, 2],
      [0, 1],
    ]) {
      const rig = rigOf(outer, pathMtu);
      rig.load([input]);
      rig.pipeline.process(rig.batch, 0);
      assert.equal(rig.batch.verdict[0], VERDICT_FORWARD);
      assert.equal(rig.batch.segmentCount[0], segments, `path MTU ${pathMtu}`);
    }
  }
});

test('the hop is counted once: in every part, and not in the quote of an answer', () => {
  for (const family of [4, 6] as const) {
    const link = packet().ethernet();
    const layers = family === 4 ? link.ipv4({ dst: SERVICE4, ttl: 9, df: true }) : link.ipv6({ dst: SERVICE6, hopLimit: 9 });
    const good = layers.tcp({ sport: 40000, dport: 443, flags: 'ACK' }).payload(1440).bytes();
    const hopAt = family === 4 ? 8 : 7;
    const rig = rigOf(4, 1400, 'segment', undefined, PACKET);
    rig.load([good]);
    rig.pipeline.process(rig.batch, 0);
    const parts = leaving(rig, 4, 1400);
    assert.deepEqual(
      parts.map((part) => part[hopAt]),
      [8, 8],
    );
    // Damaged on its way: not cut, and its hop is as it came.
    const damaged = good.slice();
    damaged[damaged.length - 1] ^= 1;
    const answered = rig.one(damaged);
    assert.equal(answered.verdict, 'reply');
    const answer = (answered.bytes as Uint8Array).subarray(14);
    assert.equal(answer[(family === 4 ? 28 : 48) + hopAt], 9);
    assertAnswer(answer, damaged.subarray(14), 1368);
  }
});

const MD5 = Uint8Array.of(1, 1, 19, 18, ...new Uint8Array(16).fill(9));
const AO = Uint8Array.of(29, 16, 1, 1, ...new Uint8Array(12).fill(9));

test('what must not be cut is answered: flags, signatures, unreadable options, extension headers, damage, UDP', () => {
  const cases: [string, Uint8Array][] = [
    ['SYN', tcp4({ flags: 'SYN' })],
    ['RST', tcp4({ flags: 0x14 })],
    ['URG', tcp4({ flags: 0x30 })],
    ['TCP-MD5', tcp4({ options: MD5 })],
    ['TCP-AO', tcp6({ options: AO })],
    ['an option of length 0', tcp4({ options: Uint8Array.of(8, 0, 1, 1) })],
    ['an option that is longer than the header', tcp4({ options: Uint8Array.of(1, 1, 8, 10) })],
    ['an option without length', tcp4({ options: Uint8Array.of(1, 1, 1, 8) })],
    [
      'an authentication header',
      packet().ipv6({ dst: SERVICE6 }).extension('authentication').tcp({ dport: 443 }).payload(1440).bytes(),
    ],
    ['UDP', packet().ipv4({ dst: SERVICE4, df: true }).udp({ dport: 443 }).payload(1460).bytes()],
    ['UDP over IPv6', packet().ipv6({ dst: SERVICE6 }).udp({ dport: 443 }).payload(1440).bytes()],
  ];
  const reserved = tcp4();
  reserved[32] |= 2;
  fillTransportChecksum(reserved);
  cases.push(['a reserved bit', reserved]);
  const damaged = tcp4();
  damaged[1000] ^= 1;
  cases.push(['damage', damaged]);
  for (const [what, input] of cases) {
    const rig = rigOf(4, 1500);
    const out = rig.one(input);
    assert.equal(out.verdict, 'reply', what);
    assertAnswer(out.bytes as Uint8Array, input, 1468, what);
    assert.equal(rig.bank[counterAt('too_big_answers_total')], 1, what);
    assert.equal(rig.bank[counterAt('replied_packets_total')], 1, what);
    assert.equal(rig.bank[counterAt('resegmented_packets_total')], 0, what);
  }
  // Everything but SYN, RST and URG may be cut, signatures elsewhere in the packet too.
  for (let flags = 0; flags < 256; flags++) {
    if ((flags & UNSAFE_FLAGS) !== 0) continue;
    const rig = rigOf(4, 1500);
    rig.load([tcp4({ flags, options: PLAIN[1].bytes })]);
    rig.pipeline.process(rig.batch, 0);
    assert.equal(rig.batch.segmentCount[0], 2, `flags ${flags}`);
  }
});

test('icmp answers what segment would cut; drop drops it, and both leave alone what fits', () => {
  for (const input of [tcp4(), tcp6()]) {
    const icmp = rigOf(4, 1500, 'icmp');
    const out = icmp.one(input);
    assert.equal(out.verdict, 'reply');
    assertAnswer(out.bytes as Uint8Array, input, 1468);
    const drop = rigOf(4, 1500, 'drop');
    assert.equal(drop.one(input).reason, 'too-big');
    assert.equal(drop.bank[DROPS_AT + dropReason('too-big')], 1);
    assert.equal(icmp.one(tcp4({}, 100)).verdict, 'forward');
    assert.equal(drop.one(tcp4({}, 100)).verdict, 'forward');
  }
});

test('what may not be answered is dropped: a client that is no single host, a size that IPv6 can not be asked for', () => {
  const nobody = packet().ipv4({ src: '127.0.0.1', dst: SERVICE4, df: true }).udp({ dport: 443 }).payload(1460).bytes();
  assert.equal(rigOf(4, 1500).one(nobody).reason, 'too-big');
  const small = packet().ipv6({ dst: SERVICE6 }).udp({ dport: 443 }).payload(1200).bytes();
  assert.equal(rigOf(6, 1280).one(small).reason, 'too-big');
  // Of a super-packet its segments count: no larger than 1,280, they can not become smaller.
  const merged = packet().ipv6({ dst: SERVICE6 }).tcp({ dport: 443, flags: 'ACK' }).payload(4880).bytes();
  const virtio = { gsoType: 4, gsoSize: 1220 };
  assert.equal(rigOf(6, 1280, 'icmp').one(merged, { virtio }).reason, 'too-big');
  assert.equal(rigOf(6, 1280, 'segment').one(merged, { virtio }).verdict, 'forward');
});

test('segment-and-tell cuts as segment does, and its answer is that of icmp', () => {
  for (const [facts, link] of [
    [TUN, 0],
    [PACKET, 14],
  ] as const)
    for (const input of [tcp4({}, 2000), tcp6({ flags: 'ACK,PSH' }, 3001)]) {
      const frame =
        link === 0
          ? input
          : Uint8Array.from([...packet().ethernet().bytes().subarray(0, 12), ...ETHERTYPE[input[0] >> 4], ...input]);
      const rigs = (['segment', 'segment-and-tell', 'icmp'] as const).map((oversize) =>
        rigOf(4, 1500, oversize, undefined, facts),
      );
      for (const rig of rigs) {
        rig.load([frame]);
        rig.pipeline.process(rig.batch, 0);
      }
      const [segment, told, icmp] = rigs;
      assert.deepEqual(leaving(told, 4, 1500), leaving(segment, 4, 1500));
      assert.equal(segment.batch.answers, 0);
      const { batch } = told;
      assert.deepEqual([batch.answers, batch.answerTo[0]], [1, 0]);
      const answer = batch.arena.bytes.slice(batch.answerAt[0], batch.answerAt[0] + batch.answerLength[0]);
      assert.deepEqual(Buffer.from(answer), Buffer.from(icmp.outcome(0).bytes as Uint8Array));
      assertAnswer(answer.subarray(link), input, 1468);
      told.pipeline.account(batch);
      assert.equal(told.bank[counterAt('resegmented_packets_total')], 1);
      assert.equal(told.bank[counterAt('too_big_answers_total')], 1);
      assert.equal(told.bank[counterAt('replied_packets_total')], 0, 'the packet itself was forwarded');
      told.load([link === 0 ? tcp4({}, 100) : frame.subarray(0, 60)]);
      told.pipeline.process(batch, 0);
      assert.equal(batch.answers, 0, 'nothing is left of it in the next batch');
    }
});

test('segment-and-tell: the answer is limited, the packet is not; what can not be answered is cut all the same', () => {
  const rate = new ReplyRate({ perSecond: 3, burst: 3, destinationPerSecond: 2, destinationBurst: 2 });
  const rig = rigOf(4, 1500, 'segment-and-tell', rate);
  for (let n = 0; n < 5; n++) assert.equal(rig.one(tcp4()).verdict, 'forward');
  assert.equal(rig.bank[counterAt('too_big_answers_total')], 2);
  assert.equal(rig.bank[counterAt('resegmented_packets_total')], 5);
  const quiet = rigOf(4, 1500, 'segment-and-tell');
  const noDf = packet().ipv4({ dst: SERVICE4, df: false }).tcp({ dport: 443, flags: 'ACK' }).payload(1460).bytes();
  assert.equal(quiet.one(noDf).verdict, 'forward');
  assert.equal(quiet.bank[counterAt('too_big_answers_total')], 0);
});

test('segment-and-tell: a super-packet is told the size that its segments may have, and its neighbours’ records are left alone', () => {
  const base = specOf({ checksum: 'full', oversize: 'segment-and-tell' });
  const rig = new Rig(base, TUN, { records: 400, capacity: 4, pathMtu: 1500 });
  const merged = packet().ipv4({ dst: SERVICE4, df: true }).tcp({ dport: 443, flags: 'ACK' }).payload(40_000).bytes();
  const fits = { gsoType: 1, gsoSize: 1400 };
  rig.load([merged, merged, tcp6(), merged], [{ gsoType: 1, gsoSize: 1460 }, fits, {}, { gsoType: 1, gsoSize: 1460 }]);
  rig.pipeline.process(rig.batch, 0);
  const { batch } = rig;
  assert.deepEqual([...batch.answerTo.subarray(0, batch.answers)], [0, 2, 3]);
  for (let i = 0; i < 4; i++) {
    assert.equal(batch.verdict[i], VERDICT_FORWARD);
    for (let k = 0; k < batch.segmentCount[i]; k++) assert.deepEqual(decodeOuter(segmentBytes(batch, i, k)).complaints, []);
  }
  [merged, tcp6(), merged].forEach((input, a) => {
    const answer = batch.arena.bytes.slice(batch.answerAt[a], batch.answerAt[a] + batch.answerLength[a]);
    assertAnswer(answer, input, 1468);
  });
});

test('answers are limited, by client first, and come again with time', () => {
  const rate = new ReplyRate({ perSecond: 3, burst: 3, destinationPerSecond: 2, destinationBurst: 2 });
  const rig = rigOf(4, 1500, 'icmp', rate);
  const from = (src: string) =>
    packet().ipv4({ src, dst: SERVICE4, df: true }).tcp({ dport: 443, flags: 'ACK' }).payload(1460).bytes();
  const told = (src: string, now: number) => {
    const { verdict, reason } = rig.one(from(src), { now });
    return verdict === 'reply' ? 'reply' : reason;
  };
  assert.deepEqual(
    ['10.1.0.1', '10.1.0.1', '10.1.0.1', '10.1.0.2', '10.1.0.2'].map((src) => told(src, 5)),
    ['reply', 'reply', 'too-big-rate', 'reply', 'too-big-rate'],
  );
  assert.equal(told('10.1.0.1', 6), 'reply');
  assert.equal(rig.bank[DROPS_AT + dropReason('too-big-rate')], 2);
  assert.equal(rig.bank[counterAt('too_big_answers_total')], 4);
});
