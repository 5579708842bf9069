// Answers to packets that are too big, ours and the kernel's for the same packet and MTU, byte for byte.
//
// Not compared, and set to ours before the rest is: the answer's source address (the kernel answers from its own, we from the service's),
// its IPv4 identification, and the checksums over them, which are verified first. What else differs is listed in too-big.test.ts.

import assert from 'node:assert/strict';
import { Arena } from '../../src/base/arena.ts';
import { Batch, LINK_RAW_IP } from '../../src/base/batch.ts';
import { VERDICT_REPLY } from '../../src/base/verdict.ts';
import { answerTooBig, copyTooBig, LONGEST_ANSWER } from '../../src/pipeline/too-big.ts';
import { type PacketBuilder, packet } from '../builder/packet.ts';
import type { Line, Outcome, Scale } from '../full/line.ts';
import { Random } from '../full/random.ts';
import { naiveChecksum, naivePseudoSum } from '../reference/checksum.ts';
import { KernelRouter } from './router.ts';

export const MTUS = [68, 296, 552, 576, 1280, 1281, 1400, 1448, 1468, 1500, 9000];
export const CLIENT4 = '10.8.0.1';
export const CLIENT6 = 'fd00:8::1';
const SEED = 20261123;
const CASES: Readonly<Record<Scale, number>> = { full: 200_000, scaled: 5_000 };
/** Differences that are told; the run ends with the last. */
const MOST_TOLD = 4;

const batch = new Batch(Arena.inProcess(1), { link: LINK_RAW_IP, hopDone: false, canPass: false, headerVerified: true });
const copyTarget = new DataView(new ArrayBuffer(LONGEST_ANSWER));

/** The packet as the one of a batch that is about to be answered. */
export function load(bytes: Uint8Array): Batch {
  batch.arena.bytes.set(bytes, batch.frameAt[0]);
  batch.networkAt[0] = batch.frameAt[0];
  batch.networkLength[0] = bytes.length;
  batch.family[0] = bytes[0] >> 4;
  batch.verdict[0] = 0;
  return batch;
}

function oursCopied(bytes: Uint8Array, mtu: number): Uint8Array | null {
  load(bytes);
  const length = copyTooBig(batch, 0, mtu, copyTarget, 0);
  return length === 0 ? null : new Uint8Array(copyTarget.buffer.slice(0, length));
}

/** Our answer, or null when there is none. */
export function ours(bytes: Uint8Array, mtu: number): Uint8Array | null {
  load(bytes);
  const length = answerTooBig(batch, 0, mtu);
  if (length === 0) return null;
  assert.equal(batch.verdict[0], VERDICT_REPLY);
  return batch.arena.bytes.slice(batch.outAt[0], batch.outAt[0] + batch.outLength[0]);
}

export function setWord(bytes: Uint8Array, at: number, value: number): void {
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
export function normalised(theirs: Uint8Array, like: Uint8Array): Uint8Array {
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

/**
 * Holds our answer against the kernel's, and the copy that is made when the packet itself goes on. Returns true when both answered, false
 * when neither did; throws an AssertionError when they differ.
 */
export function compare(
  router: KernelRouter,
  bytes: Uint8Array,
  mtu: number,
  facts?: Parameters<KernelRouter['route']>[1],
): boolean {
  const { answers } = router.route(bytes, facts);
  // The copy first: it leaves the packet as it is.
  const copy = oursCopied(bytes, mtu);
  const answer = ours(bytes, mtu);
  assert.deepEqual(copy, answer, 'the copied answer');
  const about = `${Buffer.from(bytes.subarray(0, 64)).toString('hex')} (${bytes.length} bytes) through ${mtu}`;
  assert.equal(answers.length, answer === null ? 0 : 1, `answers of the kernel to ${about}`);
  if (answer === null) return false;
  assert.deepEqual(answer, normalised(answers[0], answer), about);
  return true;
}

const tcpOptions = [Uint8Array.of(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8), Uint8Array.of(19, 18, ...new Array(18).fill(7))];
/** Options that a router neither fills in nor acts on: no-operation, security, stream id, router alert, unknown ones. */
export const ipOptions = [
  Uint8Array.of(1, 1, 1, 0),
  Uint8Array.of(130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  Uint8Array.of(136, 4, 0, 9, 148, 4, 0, 0),
  Uint8Array.of(30, 4, 9, 9, 158, 4, 1, 2),
  new Uint8Array(40).fill(1),
];

/** A packet of about `total` bytes in all, with headers of every kind, for the way of `mtu`. */
export function anyPacket(router: KernelRouter, from: Random, family: 4 | 6, mtu: number, total: number): Uint8Array {
  const random = (below: number) => from.below(below);
  const chance = (one: number) => from.chance(one);
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

async function run(scale: Scale): Promise<Outcome> {
  const random = new Random(SEED);
  const router = new KernelRouter(MTUS);
  const answered = { 4: 0, 6: 0 };
  const fitted = { 4: 0, 6: 0 };
  const wrong: string[] = [];
  try {
    for (let i = 0; i < CASES[scale] && wrong.length < MOST_TOLD; i++) {
      const family = i % 2 === 0 ? 4 : 6;
      const mtu = random.pick(family === 4 ? MTUS : MTUS.filter((one) => one >= 1280));
      // Around the border, around the longest quote, anywhere, and the largest.
      const sizes = [mtu + random.below(120), mtu + random.below(120), 500 + random.below(1200), random.below(9500), 65_535];
      const bytes = anyPacket(router, random, family, mtu, sizes[random.below(i % 50 < 2 ? 5 : 4)]);
      try {
        if (compare(router, bytes, mtu)) answered[family]++;
        else fitted[family]++;
      } catch (error) {
        wrong.push(`case ${i}: ${(error as Error).message}`);
      }
    }
  } finally {
    router.close();
  }
  const enough = Math.min(answered[4], answered[6]) > CASES[scale] / 5 && Math.min(fitted[4], fitted[6]) > CASES[scale] / 50;
  return {
    passed: wrong.length === 0 && enough,
    figures: {
      seed: SEED,
      MTUs: MTUS.join(', '),
      'IPv4: answered the same by both': answered[4],
      'IPv4: answered by neither': fitted[4],
      'IPv6: answered the same by both': answered[6],
      'IPv6: answered by neither': fitted[6],
      differences: wrong.join(' | ') || 'none',
    },
  };
}

export const tooBig: Line = {
  name: 'too-big',
  claim:
    'Asked about 200,000 generated packets that fit a path or do not, we and the host’s kernel give the same ICMP answers, byte for byte apart from source address and IPv4 identification, IPv4 and IPv6.',
  twin: 'test/oracle/too-big.test.ts',
  run,
};
