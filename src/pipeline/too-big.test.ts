import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet } from '../../test/builder/packet.ts';
import fc from '../../test/property.ts';
import { tooBigAnswer } from '../../test/reference/too-big.ts';
import { Arena, HEADROOM } from '../base/arena.ts';
import { Batch, type IngressFacts, LINK_ETHERNET, LINK_RAW_IP } from '../base/batch.ts';
import { VERDICT_DROP, VERDICT_REPLY } from '../base/verdict.ts';
import { answerTooBig, copyTooBig, LONGEST_ANSWER } from './too-big.ts';

const FILL = 0xa5;
const facts = { hopDone: true, canPass: false, headerVerified: true };
const raw: IngressFacts = { link: LINK_RAW_IP, ...facts };
const ethernet: IngressFacts = { link: LINK_ETHERNET, ...facts };

/** Three slots; the packet lies in the middle one, and everything around it is filled. */
class Bench {
  readonly batch: Batch;
  constructor(ingress: IngressFacts) {
    this.batch = new Batch(Arena.inProcess(3), ingress);
  }

  place(link: Uint8Array, bytes: Uint8Array): void {
    const { batch } = this;
    const slot = batch.slotAt[1];
    batch.arena.bytes.fill(FILL);
    batch.arena.bytes.set(link, slot + HEADROOM);
    batch.arena.bytes.set(bytes, slot + HEADROOM + link.length);
    batch.frameAt[1] = slot + HEADROOM;
    batch.frameLength[1] = link.length + bytes.length;
    batch.networkAt[1] = slot + HEADROOM + link.length;
    batch.networkLength[1] = bytes.length;
    batch.family[1] = bytes[0] >> 4;
    batch.verdict[1] = VERDICT_DROP;
    batch.outAt[1] = -1;
    batch.outLength[1] = -1;
  }
}

const rawBench = new Bench(raw);
const ethernetBench = new Bench(ethernet);
const elsewhere = new DataView(new ArrayBuffer(LONGEST_ANSWER + 64));

const SENDER = [2, 0, 0, 0, 0, 1];
const OURS = [2, 0, 0, 0, 0, 2];
const GROUP = [1, 0, 0x5e, 0, 0, 1];
const TAGS = [[], [0x81, 0, 0x20, 7], [0x88, 0xa8, 0, 9, 0x81, 0, 0x20, 7]];

function linkHeader(tags: number, family: number, to = OURS, from = SENDER): Uint8Array {
  return Uint8Array.from([...to, ...from, ...TAGS[tags], ...(family === 4 ? [8, 0] : [0x86, 0xdd])]);
}

/** Answers in place and in another memory, and holds both against the twin. Returns the answer without link header, or null. */
function check(bytes: Uint8Array, mtu: number, tags: number): Uint8Array | null {
  const bench = tags < 0 ? rawBench : ethernetBench;
  const { batch } = bench;
  const memory = batch.arena.bytes;
  const link = tags < 0 ? new Uint8Array(0) : linkHeader(tags, bytes[0] >> 4);
  bench.place(link, bytes);
  const before = memory.slice();
  new Uint8Array(elsewhere.buffer).fill(FILL);
  const copied = copyTooBig(batch, 1, mtu, elsewhere, 5);
  assert.deepEqual(memory, before, 'a copy leaves the packet alone');
  assert.equal(batch.verdict[1], VERDICT_DROP);
  const length = answerTooBig(batch, 1, mtu);
  if (length === 0) {
    assert.deepEqual([copied, batch.verdict[1], batch.outAt[1]], [0, VERDICT_DROP, -1]);
    assert.deepEqual(memory, before, 'nothing was changed');
    assert.equal(tooBigAnswer(bytes, mtu, 1), null);
    return null;
  }
  const at = batch.outAt[1];
  const networkAt = batch.networkAt[1];
  assert.equal(batch.verdict[1], VERDICT_REPLY);
  assert.equal(batch.outLength[1], link.length + length);
  const frame = memory.slice(at, at + batch.outLength[1]);
  const turned = tags < 0 ? link : linkHeader(tags, bytes[0] >> 4, SENDER, OURS);
  assert.deepEqual(frame.slice(0, link.length), turned);
  const answer = frame.slice(link.length);
  const identifier = answer[4] * 256 + answer[5];
  if (bytes[0] >> 4 === 4) assert.notEqual(identifier, 0);
  assert.deepEqual(answer, tooBigAnswer(bytes, mtu, identifier));
  assert.ok(at >= batch.slotAt[1]);
  assert.deepEqual(memory.subarray(0, at), before.subarray(0, at), 'nothing before the answer');
  assert.deepEqual(memory.subarray(networkAt), before.subarray(networkAt), 'nothing of the packet');
  const copy = new Uint8Array(elsewhere.buffer);
  assert.equal(copied, frame.length);
  assert.deepEqual(copy.slice(5, 5 + copied), frame);
  assert.ok(copy.subarray(0, 5).every((byte) => byte === FILL) && copy.subarray(5 + copied).every((byte) => byte === FILL));
  return answer;
}

const byte = fc.integer({ min: 0, max: 255 });
const sizes = fc.oneof(fc.integer({ min: 0, max: 1600 }), fc.integer({ min: 1, max: 9000 }), fc.constant(65_400));
const mtus = fc.oneof(fc.integer({ min: 0, max: 1600 }), fc.constantFrom(68, 576, 1280, 1468, 9000, 65_535));
const tagging = fc.integer({ min: -1, max: 2 });

const packets4 = fc
  .record({ tos: byte, id: fc.integer({ min: 0, max: 65_535 }), ttl: byte, df: fc.boolean(), more: fc.boolean(), later: byte })
  .chain((fields) =>
    fc
      .record({ size: sizes, type: byte, kind: fc.constantFrom('tcp', 'tcp', 'udp', 'icmp'), words: byte, src: byte })
      .map((rest) => {
        const options = new Uint8Array(rest.words < 200 ? 0 : (rest.words % 11) * 4).fill(1);
        const src = rest.src < 200 ? '192.0.2.1' : Uint8Array.of(rest.src, 0, 0, rest.words % 3);
        const df = fields.df || fields.later < 200;
        const head = packet().ipv4({ ...fields, df, options, src, offset: fields.later < 240 ? 0 : 1480 });
        if (rest.kind === 'tcp') return head.tcp().payload(rest.size).bytes();
        if (rest.kind === 'udp') return head.udp().payload(rest.size).bytes();
        return head
          .icmp4({ type: rest.type % 24 })
          .payload(rest.size)
          .bytes();
      }),
  );

const packets6 = fc
  .record({ size: sizes, type: byte, kind: byte, trafficClass: byte, flowLabel: byte, src: byte })
  .map((fields) => {
    const odd = ['::', '::1', '::2', 'ff02::1', 'fe80::1', 'febf::1', 'fec0::1', '2001:db8:2::1'];
    const src = fields.src < 200 ? '2001:db8:1::1' : odd[fields.src % odd.length];
    const head = packet().ipv6({ trafficClass: fields.trafficClass, flowLabel: fields.flowLabel, src });
    if (fields.kind > 200) head.extension('hop-by-hop').extension('destination', { units: 3 });
    if (fields.kind > 230) head.fragment({ offset: fields.kind > 245 ? 1232 : 0, more: fields.kind % 2 === 0 });
    if (fields.kind % 3 === 0) return head.tcp().payload(fields.size).bytes();
    if (fields.kind % 3 === 1) return head.udp().payload(fields.size).bytes();
    return head.icmp6({ type: fields.type }).payload(fields.size).bytes();
  });

test('answers are those of the slow twin, in place and copied, with and without link header', () => {
  let answered = 0;
  const each = fc.property(fc.oneof(packets4, packets6), mtus, tagging, (bytes, mtu, tags) => {
    if (check(bytes, mtu, tags) !== null) answered++;
  });
  fc.assert(each, { numRuns: 500 });
  assert.ok(answered > 100, `only ${answered} answers`);
});

test('the figures of an answer: source, quote, MTU, TOS', () => {
  const four = check(packet().ipv4({ tos: 0xff }).tcp().payload(1460).bytes(), 1468, -1) as Uint8Array;
  assert.equal(four.length, 576);
  assert.deepEqual([...four.subarray(12, 20)], [198, 51, 100, 1, 192, 0, 2, 1], 'from the service, to the client');
  assert.equal(four[1], 0xde);
  assert.deepEqual([...four.subarray(20, 22), ...four.subarray(24, 28)], [3, 4, 0, 0, 1468 >> 8, 1468 & 255]);
  const six = check(packet().ipv6({ trafficClass: 0xff }).udp().payload(1452).bytes(), 1448, 2) as Uint8Array;
  assert.equal(six.length, 1280);
  assert.deepEqual([...six.subarray(0, 4), six[6], six[7]], [0x60, 0, 0, 0, 58, 64]);
  assert.deepEqual([...six.subarray(40, 42), ...six.subarray(44, 48)], [2, 0, 0, 0, 1448 >> 8, 1448 & 255]);
});

test('floors: an answer names 68 or 1280 at least, and none is given that could not help', () => {
  const four = check(packet().ipv4().udp().payload(41).bytes(), 20, -1) as Uint8Array;
  assert.deepEqual([four.length, four[26], four[27]], [97, 0, 68], 'a short packet is quoted whole');
  assert.equal(check(packet().ipv4().udp().payload(40).bytes(), 20, -1), null);
  const six = check(packet().ipv6().udp().payload(1233).bytes(), 1200, -1) as Uint8Array;
  assert.deepEqual([six[46], six[47]], [5, 0]);
  assert.equal(check(packet().ipv6().udp().payload(1232).bytes(), 1200, -1), null, 'IPv6 has no smaller packets to ask for');
  assert.equal(check(packet().ipv4().udp().payload(1472).bytes(), 1500, -1), null, 'it fits');
});

test('a super-packet is quoted as it lies, merged', () => {
  const bytes = packet().ipv4().tcp({ checksum: 'partial' }).payload(65_495).bytes();
  const answer = check(bytes, 1400, 1) as Uint8Array;
  assert.deepEqual(answer.subarray(28), bytes.subarray(0, 548));
  assert.equal(answer[30] * 256 + answer[31], 65_535);
});

test('no answer to what was sent to a group on the link', () => {
  const bytes = packet().ipv4().udp().payload(1472).bytes();
  ethernetBench.place(linkHeader(0, 4, GROUP), bytes);
  assert.equal(answerTooBig(ethernetBench.batch, 1, 1400), 0);
  assert.equal(copyTooBig(ethernetBench.batch, 1, 1400, elsewhere, 0), 0);
});

test('no answer where the slot has no room in front of the packet', () => {
  const bytes = packet().ipv6().udp().payload(1452).bytes();
  const { batch } = rawBench;
  for (const [room, expected] of [
    [47, 0],
    [48, 1280],
  ]) {
    rawBench.place(new Uint8Array(0), bytes);
    const at = batch.slotAt[1] + room;
    batch.arena.bytes.set(bytes, at);
    batch.frameAt[1] = at;
    batch.networkAt[1] = at;
    assert.equal(answerTooBig(batch, 1, 1400), expected);
    assert.ok(batch.arena.bytes.subarray(0, batch.slotAt[1]).every((byte) => byte === FILL));
  }
});

test('no answer to errors, later fragments, packets without DF, or from and to what is no host', () => {
  const body = (head: ReturnType<typeof packet>) => head.udp().payload(1460).bytes();
  const silent = [
    body(packet().ipv4({ df: false })),
    body(packet().ipv4({ offset: 8 })),
    ...['0.0.0.0', '127.0.0.1', '224.0.0.1', '239.1.1.1', '255.255.255.255', '198.51.100.1'].map((src) =>
      body(packet().ipv4({ src })),
    ),
    ...['224.0.0.1', '255.255.255.255'].map((dst) => body(packet().ipv4({ dst }))),
    ...['::', '::1', 'ff02::1', 'fe80::1', '2001:db8:2::1'].map((src) => body(packet().ipv6({ src }))),
    body(packet().ipv6({ dst: 'ff0e::1' })),
    body(packet().ipv6().fragment({ offset: 1232 })),
    ...[3, 4, 5, 11, 12, 1, 40].map((type) => packet().ipv4().icmp4({ type }).payload(1460).bytes()),
    ...[1, 2, 3, 4, 127].map((type) => packet().ipv6().extension('routing').icmp6({ type }).payload(1460).bytes()),
  ];
  for (const bytes of silent) {
    assert.equal(check(bytes, 1300, -1), null, Buffer.from(bytes.subarray(0, 48)).toString('hex'));
  }
  const answered = [
    body(packet().ipv4({ more: true })),
    body(packet().ipv6().fragment({ more: true })),
    packet().ipv4().icmp4({ type: 8 }).payload(1460).bytes(),
    packet().ipv6().icmp6({ type: 128 }).payload(1460).bytes(),
  ];
  for (const bytes of answered) assert.notEqual(check(bytes, 1300, -1), null);
});

test('any bytes with a length of their own: no exception, nothing outside', () => {
  const shapes = fc.record({ bytes: fc.uint8Array({ minLength: 60, maxLength: 400 }), mtu: fc.integer({ min: 0, max: 400 }) });
  const each = fc.property(shapes, fc.constantFrom(4, 6), tagging, ({ bytes, mtu }, family, tags) => {
    bytes[0] = family === 4 ? 0x45 + (bytes[0] % 11) : 0x60;
    check(bytes, mtu, tags);
  });
  fc.assert(each, { numRuns: 500 });
});
