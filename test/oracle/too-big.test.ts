// Answers to packets that are too big, and IPv4 fragments, ours and the kernel's for the same packet and MTU, byte for byte.
//
// Not compared, and set to ours before the rest is: the answer's source address (the kernel answers from its own, we from the service's),
// its IPv4 identification, and the checksums over them, which are verified first. What else differs is listed in the last test.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Arena } from '../../src/base/arena.ts';
import { Batch, LINK_RAW_IP } from '../../src/base/batch.ts';
import { VERDICT_REPLY } from '../../src/base/verdict.ts';
import { fragment4, fragmentPayload } from '../../src/pipeline/fragment4.ts';
import { answerTooBig } from '../../src/pipeline/too-big.ts';
import { type PacketBuilder, packet } from '../builder/packet.ts';
import { needs } from '../needs.ts';
import { naiveChecksum, naivePseudoSum } from '../reference/checksum.ts';
import { KernelRouter } from './router.ts';

const parts = needs('root', 'namespaces', 'tun');
const MTUS = [68, 296, 552, 576, 1280, 1281, 1400, 1448, 1468, 1500, 9000];
const CLIENT4 = '10.8.0.1';
const CLIENT6 = 'fd00:8::1';
const FRESH = 0x4321;

let router: KernelRouter;

before(() => {
  if (parts.skip === undefined) router = new KernelRouter(MTUS);
});
after(() => {
  if (parts.skip === undefined) router.close();
});

/** The same random numbers in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) % below;
  };
}

const batch = new Batch(Arena.inProcess(1), { link: LINK_RAW_IP, hopDone: false, canPass: false, headerVerified: true });

function ours(bytes: Uint8Array, mtu: number): Uint8Array | null {
  batch.arena.bytes.set(bytes, batch.frameAt[0]);
  batch.networkAt[0] = batch.frameAt[0];
  batch.networkLength[0] = bytes.length;
  batch.family[0] = bytes[0] >> 4;
  batch.verdict[0] = 0;
  const length = answerTooBig(batch, 0, mtu);
  if (length === 0) return null;
  assert.equal(batch.verdict[0], VERDICT_REPLY);
  return batch.arena.bytes.slice(batch.outAt[0], batch.outAt[0] + batch.outLength[0]);
}

function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 255;
}

/** Both checksums of an answer, from its bytes; 0 and 0 when they are right. */
function checksums(answer: Uint8Array): [number, number] {
  if (answer[0] >> 4 === 4) {
    const header = (answer[0] & 15) * 4;
    return [naiveChecksum(answer, 0, header), naiveChecksum(answer, header, answer.length - header)];
  }
  const pseudo = naivePseudoSum(answer.slice(8, 24), answer.slice(24, 40), 58, answer.length - 40);
  return [0, naiveChecksum(answer, 40, answer.length - 40, pseudo)];
}

/** The kernel's answer, with source and identification of `like`. */
function normalised(theirs: Uint8Array, like: Uint8Array): Uint8Array {
  assert.deepEqual(checksums(theirs), [0, 0], 'the kernel’s checksums');
  const answer = theirs.slice();
  if (answer[0] >> 4 === 4) {
    answer.set(like.subarray(12, 16), 12);
    answer.set(like.subarray(4, 6), 4);
    setWord(answer, 10, 0);
    setWord(answer, 10, checksums(answer)[0]);
  } else {
    answer.set(like.subarray(8, 24), 8);
    setWord(answer, 42, 0);
    setWord(answer, 42, checksums(answer)[1]);
  }
  return answer;
}

/** Holds our answer against the kernel's. Returns true when both answered, false when neither did. */
function compare(bytes: Uint8Array, mtu: number, facts?: Parameters<KernelRouter['route']>[1]): boolean {
  const { answers } = router.route(bytes, facts);
  const answer = ours(bytes, mtu);
  const about = `${Buffer.from(bytes.subarray(0, 64)).toString('hex')} (${bytes.length} bytes) through ${mtu}`;
  assert.equal(answers.length, answer === null ? 0 : 1, `answers of the kernel to ${about}`);
  if (answer === null) return false;
  assert.deepEqual(answer, normalised(answers[0], answer), about);
  return true;
}

const tcpOptions = [Uint8Array.of(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8), Uint8Array.of(19, 18, ...new Array(18).fill(7))];
/** Options that a router neither fills in nor acts on: no-operation, security, stream id, router alert, unknown ones. */
const ipOptions = [
  Uint8Array.of(1, 1, 1, 0),
  Uint8Array.of(130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  Uint8Array.of(136, 4, 0, 9, 148, 4, 0, 0),
  Uint8Array.of(30, 4, 9, 9, 158, 4, 1, 2),
  new Uint8Array(40).fill(1),
];

/** A packet of about `total` bytes in all, with headers of every kind, for the way of `mtu`. */
function anyPacket(random: (below: number) => number, family: 4 | 6, mtu: number, total: number): Uint8Array {
  const chance = (one: number) => random(one) === 0;
  const common = { ttl: 2 + random(254), hopLimit: 2 + random(254) };
  const build = (payload: number): Uint8Array => {
    let head: PacketBuilder;
    if (family === 4) {
      const options = chance(4) ? ipOptions[random(ipOptions.length)] : new Uint8Array(0);
      const fields = { tos: random(256), id: random(65_536), more: chance(12), options };
      head = packet().ipv4({ ...common, ...fields, src: CLIENT4, dst: router.destination4(mtu) });
    } else {
      const fields = { trafficClass: random(256), flowLabel: random(1 << 20) };
      head = packet().ipv6({ ...common, ...fields, src: CLIENT6, dst: router.destination6(mtu) });
      // One unit: the kernel drops a hop-by-hop header with more than 7 bytes of padding, whatever the packet's size (ip6_parse_tlv).
      if (chance(6)) head.extension('hop-by-hop');
      if (chance(6)) head.extension('destination', { units: 1 + random(3) });
      if (chance(12)) head.fragment({ more: true });
    }
    const kind = random(8);
    if (kind < 3)
      return head
        .udp({ checksum: chance(3) ? 'none' : random(65_536) })
        .payload(payload)
        .bytes();
    if (kind < 7) {
      const options = chance(2) ? tcpOptions[random(2)] : new Uint8Array(0);
      return head
        .tcp({ flags: random(256), seq: random(1 << 24), options, checksum: random(65_536) })
        .payload(payload)
        .bytes();
    }
    return family === 4 ? head.icmp4().payload(payload).bytes() : head.icmp6().payload(payload).bytes();
  };
  return build(Math.max(0, Math.min(total, 65_300) - 60));
}

for (const family of [4, 6] as const)
  test(`IPv${family}: the answers are the kernel’s`, parts, () => {
    const random = numbers(family);
    const mtus = family === 4 ? MTUS : MTUS.filter((mtu) => mtu >= 1280);
    let answered = 0;
    let fitted = 0;
    for (let i = 0; i < 2500; i++) {
      const mtu = mtus[random(mtus.length)];
      // Around the border, around the longest quote, anywhere, and the largest.
      const sizes = [mtu + random(120), mtu + random(120), 500 + random(1200), random(9500), 65_535];
      const bytes = anyPacket(random, family, mtu, sizes[random(i % 50 === 0 ? 5 : 4)]);
      if (compare(bytes, mtu)) answered++;
      else fitted++;
    }
    assert.ok(answered > 1000 && fitted > 100, `${answered} answered, ${fitted} not`);
  });

test('every size around the MTU, every TOS', parts, () => {
  for (const mtu of [552, 1280, 1468])
    for (let payload = mtu - 32; payload < mtu - 24; payload++) {
      const bytes = packet()
        .ipv4({ src: CLIENT4, dst: router.destination4(mtu) })
        .udp()
        .payload(payload)
        .bytes();
      assert.equal(compare(bytes, mtu), bytes.length > mtu);
    }
  for (const mtu of [1280, 1281, 1448])
    for (let payload = mtu - 52; payload < mtu - 44; payload++) {
      const bytes = packet()
        .ipv6({ src: CLIENT6, dst: router.destination6(mtu) })
        .udp()
        .payload(payload)
        .bytes();
      assert.equal(compare(bytes, mtu), bytes.length > mtu);
    }
  for (let tos = 0; tos < 256; tos++) {
    assert.ok(
      compare(
        packet()
          .ipv4({ tos, src: CLIENT4, dst: router.destination4(1400) })
          .tcp()
          .payload(1400)
          .bytes(),
        1400,
      ),
    );
    const six = packet().ipv6({ trafficClass: tos, src: CLIENT6, dst: router.destination6(1400) });
    assert.ok(compare(six.tcp().payload(1400).bytes(), 1400));
  }
});

test('super-packets are quoted merged, their checksum partial', parts, () => {
  for (const [payload, gsoSize] of [
    [5000, 1460],
    [65_000, 1460],
    [2000, 1401],
  ]) {
    const tcp = { checksum: 'partial' as const };
    const four = packet()
      .ipv4({ src: CLIENT4, dst: router.destination4(1400) })
      .tcp(tcp)
      .payload(payload)
      .bytes();
    const start = { flags: 1, gsoSize, csumOffset: 16 };
    assert.ok(compare(four, 1400, { ...start, gsoType: 1, headerLength: 40, csumStart: 20 }));
    const six = packet()
      .ipv6({ src: CLIENT6, dst: router.destination6(1400) })
      .tcp(tcp)
      .payload(payload)
      .bytes();
    assert.ok(compare(six, 1400, { ...start, gsoType: 4, headerLength: 60, csumStart: 40 }));
  }
});

test('who is not answered: every ICMP type, fragments, sources that are no host', parts, () => {
  const v4 = (fields: Parameters<PacketBuilder['ipv4']>[0]) =>
    packet().ipv4({ src: CLIENT4, dst: router.destination4(1400), ...fields });
  const v6 = (src = CLIENT6) => packet().ipv6({ src, dst: router.destination6(1400) });
  const answered: number[][] = [[], []];
  for (let type = 0; type < 256; type++) {
    if (compare(v4({}).icmp4({ type }).payload(1400).bytes(), 1400)) answered[0].push(type);
    if (compare(v6().extension('destination').icmp6({ type }).payload(1400).bytes(), 1400)) answered[1].push(type);
  }
  assert.deepEqual(answered[0], [0, 8, 13, 14, 15, 16, 17, 18]);
  assert.deepEqual(
    answered[1],
    Array.from({ length: 128 }, (_, k) => 128 + k),
  );
  assert.ok(compare(v4({ more: true }).udp().payload(1464).bytes(), 1400), 'a first fragment');
  assert.ok(!compare(v4({ offset: 1480 }).udp().payload(1464).bytes(), 1400), 'a later fragment');
  assert.ok(!compare(v4({ df: false }).udp().payload(1464).bytes(), 1400), 'without DF');
  for (const src of ['0.0.0.0', '127.0.0.1', '127.9.9.9', '224.0.0.1', '239.255.0.1', '255.255.255.255'])
    assert.ok(!compare(v4({ src }).udp().payload(1464).bytes(), 1400), src);
  for (const src of ['0.0.0.1', '1.0.0.1', '192.0.2.1', '223.255.255.255', '240.0.0.1', '255.255.255.254'])
    assert.ok(compare(v4({ src }).udp().payload(1464).bytes(), 1400), src);
  for (const src of ['::', '::1', 'ff02::1', 'ff0e::1']) assert.ok(!compare(v6(src).udp().payload(1464).bytes(), 1400), src);
  for (const src of ['::2', '2001:db8::1', 'fec0::1', 'fd00::1'])
    assert.ok(compare(v6(src).udp().payload(1464).bytes(), 1400), src);
});

test('without DF: the fragments are the kernel’s', parts, () => {
  const random = numbers(17);
  const area = new Uint8Array(1400 * 64);
  const areaView = new DataView(area.buffer);
  let cut = 0;
  for (let i = 0; i < 1500; i++) {
    const mtu = MTUS[random(MTUS.length)];
    const size = [mtu + random(3000), mtu - 60 + random(120), random(9500)][random(3)];
    const options = random(3) === 0 ? ipOptions[random(ipOptions.length)] : new Uint8Array(0);
    const place = [{}, {}, {}, { more: true }, { offset: 1480 }, { offset: 1480, more: true }][random(6)];
    // The kernel keeps an identification of 0, which we replace.
    const fields = { tos: random(256), id: 1 + random(65_535), ttl: 2 + random(254), df: false, options, ...place };
    const bytes = packet()
      .ipv4({ ...fields, src: CLIENT4, dst: router.destination4(mtu) })
      .udp()
      .payload(Math.max(0, size))
      .bytes();
    const { answers, forwarded } = router.route(bytes);
    assert.deepEqual(answers, []);
    // What a router has done when it fragments: the TTL.
    bytes[8]--;
    setWord(bytes, 10, 0);
    const header = (bytes[0] & 15) * 4;
    setWord(bytes, 10, naiveChecksum(bytes, 0, header));
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const count = fragment4(view, 0, bytes.length, mtu, FRESH, areaView, 0, 64, 0);
    assert.equal(count, forwarded.length, `${bytes.length} bytes through ${mtu}`);
    if (count > 1) cut++;
    const payload = fragmentPayload(header, mtu);
    for (let k = 0; k < count; k++) {
      const from = header + k * payload;
      const to = k === count - 1 ? bytes.length : from + payload;
      const fragment = Uint8Array.from([...area.subarray(k * 64, k * 64 + header), ...bytes.subarray(from, to)]);
      assert.deepEqual(fragment, forwarded[k], `fragment ${k} of ${bytes.length} bytes through ${mtu}`);
    }
  }
  assert.ok(cut > 500, `only ${cut} were fragmented`);
});

test('the list of differences holds', parts, () => {
  const answers = (bytes: Uint8Array) => router.route(bytes).answers;
  const v4 = { src: CLIENT4, dst: router.destination4(1400) };
  const dst6 = router.destination6(1400);

  // The kernel repeats record route and time stamp in its answer's own header; we quote them only.
  const recordRoute = packet()
    .ipv4({ ...v4, options: Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0) })
    .udp()
    .payload(1464)
    .bytes();
  assert.equal(answers(recordRoute)[0][0], 0x47);
  assert.equal((ours(recordRoute, 1400) as Uint8Array)[0], 0x45);

  // It drops source-routed packets, whatever their size.
  const sourceRoute = packet()
    .ipv4({ ...v4, options: Uint8Array.of(131, 7, 4, 10, 9, 1, 1, 0) })
    .udp()
    .payload(1464)
    .bytes();
  assert.deepEqual(answers(sourceRoute), []);
  assert.notEqual(ours(sourceRoute, 1400), null);

  // It answers later fragments of IPv6.
  const later = packet().ipv6({ src: CLIENT6, dst: dst6 }).fragment({ offset: 1232 }).udp().payload(1464).bytes();
  assert.equal(answers(later).length, 1);
  assert.equal(ours(later, 1400), null);

  // It answers a link-local source with another error: beyond scope of source address (type 1 code 2).
  const local = packet().ipv6({ src: 'fe80::5', dst: dst6 }).udp().payload(1464).bytes();
  assert.deepEqual([...answers(local)[0].subarray(40, 42)], [1, 2]);
  assert.equal(ours(local, 1400), null);

  // A fresh identification for fragments of a datagram that has none.
  const zero = packet()
    .ipv4({ ...v4, df: false, id: 0 })
    .udp()
    .payload(1464)
    .bytes();
  assert.deepEqual(
    router.route(zero).forwarded.map((fragment) => fragment[4] * 256 + fragment[5]),
    [0, 0],
  );
});
