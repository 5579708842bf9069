// Answers to packets whose TTL ran out, ours and the kernel's for the same packet, byte for byte. What is not compared, and set to ours before
// the rest is: as in too-big.ts. What differs is listed in the last test.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { VERDICT_REPLY } from '../../src/base/verdict.ts';
import { answerExpired } from '../../src/pipeline/time-exceeded.ts';
import { type PacketBuilder, packet } from '../builder/packet.ts';
import { Random } from '../full/random.ts';
import { needs } from '../needs.ts';
import { naiveChecksum } from '../reference/checksum.ts';
import { KernelRouter } from './router.ts';
import { anyPacket, CLIENT4, CLIENT6, load, normalised, setWord } from './too-big.ts';

const parts = needs('root', 'namespaces', 'tun');
/** Nothing is too big here. */
const WIDE = 65535;
const CASES = 1500;

let router: KernelRouter;

before(() => {
  if (parts.skip === undefined) router = new KernelRouter([WIDE]);
});
after(() => {
  if (parts.skip === undefined) router.close();
});

function ours(bytes: Uint8Array): Uint8Array | null {
  const batch = load(bytes);
  if (answerExpired(batch, 0) === 0) return null;
  assert.equal(batch.verdict[0], VERDICT_REPLY);
  return batch.arena.bytes.slice(batch.outAt[0], batch.outAt[0] + batch.outLength[0]);
}

/** Sets the TTL or hop limit, and the checksum that goes with it. */
function withHops(bytes: Uint8Array, hops: number): Uint8Array {
  if (bytes[0] >> 4 === 6) bytes[7] = hops;
  else {
    bytes[8] = hops;
    setWord(bytes, 10, 0);
    setWord(bytes, 10, naiveChecksum(bytes, 0, (bytes[0] & 15) * 4));
  }
  return bytes;
}

/** True when both answered, false when neither did; throws when they differ. */
function compare(bytes: Uint8Array, facts?: Parameters<KernelRouter['route']>[1]): boolean {
  const { answers, forwarded } = router.route(bytes, facts);
  const answer = ours(bytes);
  const about = `${Buffer.from(bytes.subarray(0, 64)).toString('hex')} (${bytes.length} bytes)`;
  assert.equal(forwarded.length, 0, about);
  assert.equal(answers.length, answer === null ? 0 : 1, `answers of the kernel to ${about}`);
  if (answer === null) return false;
  assert.deepEqual(answer, normalised(answers[0], answer), about);
  return true;
}

const to4 = (fields: Parameters<PacketBuilder['ipv4']>[0] = {}) =>
  packet().ipv4({ src: CLIENT4, dst: router.destination4(WIDE), ttl: 1, ...fields });
const to6 = (fields: Parameters<PacketBuilder['ipv6']>[0] = {}) =>
  packet().ipv6({ src: CLIENT6, dst: router.destination6(WIDE), hopLimit: 1, ...fields });

test('packets of every size, with every TOS, option and extension header: the kernel’s answer', parts, () => {
  const random = new Random(20261124);
  let answered = 0;
  for (let i = 0; i < CASES; i++) {
    const family = i % 2 === 0 ? 4 : 6;
    const size = [60 + random.below(600), 1200 + random.below(400), random.below(9000)][random.below(3)];
    if (compare(withHops(anyPacket(router, random, family, WIDE, size), random.below(2)))) answered++;
  }
  assert.ok(answered > CASES * 0.9, `${answered} answers`);
});

test('around the longest quote; without DF; merged, with a partial checksum', parts, () => {
  for (let payload = 510; payload < 530; payload++) assert.ok(compare(to4().udp().payload(payload).bytes()));
  for (let payload = 1175; payload < 1195; payload++) assert.ok(compare(to6().udp().payload(payload).bytes()));
  assert.ok(compare(to4({ df: false }).udp().payload(900).bytes()));
  const start = { flags: 1, gsoSize: 1400, csumOffset: 16 };
  const four = to4().tcp({ checksum: 'partial' }).payload(5000).bytes();
  assert.ok(compare(four, { ...start, gsoType: 1, headerLength: 40, csumStart: 20 }));
  const six = to6().tcp({ checksum: 'partial' }).payload(5000).bytes();
  assert.ok(compare(six, { ...start, gsoType: 4, headerLength: 60, csumStart: 40 }));
});

test('who is not answered: ICMP errors and unknown types, later fragments, sources that are no host', parts, () => {
  const answered: number[][] = [[], []];
  for (let type = 0; type < 256; type++) {
    if (compare(to4().icmp4({ type }).payload(100).bytes())) answered[0].push(type);
    if (compare(to6().icmp6({ type }).payload(100).bytes())) answered[1].push(type);
  }
  assert.deepEqual(answered[0], [0, 8, 13, 14, 15, 16, 17, 18]);
  assert.deepEqual(
    answered[1],
    Array.from({ length: 128 }, (_, k) => 128 + k),
  );
  assert.ok(compare(to4({ more: true }).udp().payload(100).bytes()), 'a first fragment');
  assert.ok(!compare(to4({ offset: 1480 }).udp().payload(100).bytes()), 'a later fragment');
  for (const src of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255'])
    assert.ok(!compare(to4({ src }).udp().payload(100).bytes()), src);
  for (const src of ['::', '::1', 'ff02::1']) assert.ok(!compare(to6({ src }).udp().payload(100).bytes()), src);
});

test('the list of differences holds', parts, () => {
  const answers = (bytes: Uint8Array) => router.route(bytes).answers;
  // It answers later fragments of IPv6, and a link-local source, which no service address can be answered to from.
  const later = to6().fragment({ offset: 1232 }).udp().payload(100).bytes();
  assert.deepEqual([answers(later).length, ours(later)], [1, null]);
  const local = to6({ src: 'fe80::5' }).udp().payload(100).bytes();
  assert.deepEqual([...answers(local)[0].subarray(40, 42)], [3, 0]);
  assert.equal(ours(local), null);
});
