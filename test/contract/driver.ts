// The contract of src/io/driver.ts as tests: every driver's test file calls `ingressContract` or `egressContract` with a harness that
// brings real bytes to the driver, or takes them from it, through the kernel (or a file, or memory) by another way than the driver.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { HEADROOM } from '../../src/base/arena.ts';
import { type Batch, LINK_ETHERNET } from '../../src/base/batch.ts';
import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_REPLY } from '../../src/base/verdict.ts';
import type { Egress, Ingress } from '../../src/io/driver.ts';
import { MemoryIngress } from '../../src/io/memory/ingress.ts';
import { createBatch } from '../../src/io/open.ts';
import type { Part } from '../needs.ts';
import { needs } from '../needs.ts';
import { type OuterPacket, outerPacket, udpPacket } from './packets.ts';

export const reasonOf = (batch: Batch, i: number): string => DROP_REASONS[batch.reason[i]].word;

export interface IngressHarness {
  readonly ingress: Ingress;
  /** Makes these IP packets arrive, in order, by another way than the driver. */
  deliver(packets: readonly Uint8Array[]): void;
  /** A reply frame as the pipeline would build it, around a UDP payload for the client. */
  replyFrame(payload: Uint8Array): Uint8Array;
  /** Payloads of the replies that the client received so far. */
  replies(): Uint8Array[];
  /** A reply that the driver can not send, or null when it can send anything. */
  readonly impossibleReply: Uint8Array | null;
  close(): void;
}

export interface IngressCase {
  readonly needs: readonly Part[];
  /** Opens a fresh driver; a finite source is given what it will ever deliver. */
  open(t: TestContext, packets: readonly Uint8Array[]): IngressHarness;
  /** Sizes of IP packets that the driver must deliver. */
  readonly sizes: readonly number[];
  /** Bytes of the largest frame, where the kernel drops and counts what is larger; null where none is too large; absent: it is delivered as truncated. */
  readonly largestFrame?: number | null;
}

/** Descriptors of this process by number and target: what a driver opened and did not close shows as a difference. */
function descriptors(): string[] {
  return readdirSync('/proc/self/fd').sort();
}

/** Receives until `count` packets have come or a second is over; `each` sees every batch while it is valid. */
export function receiveAll(ingress: Ingress, batch: Batch, count: number, each: (batch: Batch) => void): number {
  let got = 0;
  for (const end = Date.now() + 1000; got < count && Date.now() < end; ) {
    got += ingress.receive(batch);
    each(batch);
  }
  return got;
}

const linkBytes = (ingress: Ingress): number => (ingress.facts.link === LINK_ETHERNET ? 14 : 0);

export function ingressContract(name: string, driver: IngressCase): void {
  const options = driver.needs.length === 0 ? {} : needs(...driver.needs);

  test(`${name}: delivers every size, byte for byte, in order, in batches no larger than asked`, options, (t) => {
    const sent = driver.sizes.map((size, i) => udpPacket(size, i + 1));
    const harness = driver.open(t, sent);
    const { ingress } = harness;
    const mapped = createBatch(ingress, 3);
    harness.deliver(sent);
    const got: Uint8Array[] = [];
    receiveAll(ingress, mapped.batch, sent.length, (batch) => {
      assert.ok(batch.count <= 3);
      for (let i = 0; i < batch.count; i++) {
        assert.equal(reasonOf(batch, i), 'none');
        assert.ok(batch.frameAt[i] >= batch.slotAt[i] + HEADROOM - 4);
        const at = batch.frameAt[i] + linkBytes(ingress);
        got.push(batch.arena.bytes.slice(at, batch.frameAt[i] + batch.frameLength[i]));
      }
    });
    assert.equal(got.length, sent.length, 'every packet arrives');
    for (let i = 0; i < sent.length; i++) {
      assert.equal(Buffer.compare(got[i].subarray(0, sent[i].length), sent[i]), 0, `packet of ${sent[i].length} bytes`);
    }
    assert.equal(ingress.receive(mapped.batch), 0, 'nothing waits: 0, and no blocking');
    assert.equal(mapped.batch.count, 0);
    assert.equal(ingress.statistics().kernelDrops, 0);
    harness.close();
    mapped.release();
  });

  test(`${name}: a frame larger than its slot is delivered as truncated, its neighbours whole`, options, (t) => {
    const stride = 2112;
    const { largestFrame } = driver;
    if (largestFrame === null) return;
    const room = largestFrame ?? stride - HEADROOM;
    const huge = largestFrame === undefined ? 5000 : largestFrame + 500;
    const sent = [udpPacket(100, 1), udpPacket(huge, 2), udpPacket(room - 14, 3), udpPacket(room + 1, 4), udpPacket(200, 5)];
    const harness = driver.open(t, sent);
    const mapped = createBatch(harness.ingress, 8, stride);
    harness.deliver(sent);
    const words: string[] = [];
    const expected = largestFrame === undefined ? sent.length : sent.length - 2;
    receiveAll(harness.ingress, mapped.batch, expected, (batch) => {
      for (let i = 0; i < batch.count; i++) {
        words.push(reasonOf(batch, i));
        assert.ok(batch.frameLength[i] <= batch.frameCapacity);
        if (batch.reason[i] !== 0) assert.equal(batch.verdict[i], VERDICT_DROP);
      }
    });
    if (largestFrame === undefined) assert.deepEqual(words, ['none', 'truncated', 'none', 'truncated', 'none']);
    else {
      assert.deepEqual(words, ['none', 'none', 'none']);
      assert.equal(harness.ingress.statistics().kernelDrops, 2);
    }
    harness.close();
    mapped.release();
  });

  test(`${name}: replies reach the client; what can not be sent is dropped as reply-failed`, options, (t) => {
    const asked = [1, 2, 3].map((i) => udpPacket(100, i));
    const harness = driver.open(t, asked);
    const mapped = createBatch(harness.ingress, 8);
    const { batch } = mapped;
    const payloads = [Buffer.from('first'), Buffer.from('second, longer'), Buffer.alloc(1200, 7)];
    const frames = payloads.map((payload) => harness.replyFrame(payload));
    if (harness.impossibleReply !== null) frames.splice(1, 0, harness.impossibleReply);
    batch.count = frames.length + 1;
    frames.forEach((frame, i) => {
      batch.outAt[i] = batch.slotAt[i] + HEADROOM;
      batch.outLength[i] = frame.length;
      batch.arena.bytes.set(frame, batch.outAt[i]);
      batch.verdict[i] = VERDICT_REPLY;
      batch.reason[i] = 0;
    });
    batch.verdict[frames.length] = VERDICT_DROP;
    harness.ingress.reply(batch);
    assert.deepEqual(
      harness.replies().map((payload) => payload.length),
      payloads.map((payload) => payload.length),
    );
    if (harness.impossibleReply !== null) {
      assert.equal(batch.verdict[1], VERDICT_DROP);
      assert.equal(reasonOf(batch, 1), 'reply-failed');
    }
    assert.equal(batch.verdict[0], VERDICT_REPLY);
    harness.close();
    mapped.release();
  });

  test(`${name}: answers beside verdicts reach the client after the replies; what can not be sent is counted`, options, (t) => {
    const harness = driver.open(t, [udpPacket(100, 1)]);
    const { ingress } = harness;
    const mapped = createBatch(ingress, 2);
    const { batch } = mapped;
    // Replies and answers fill the batch: a driver has room for both.
    const frames = [1, 2, 3, 4].map((n) => harness.replyFrame(Buffer.alloc(n * 10, n)));
    const place = (frame: Uint8Array, at: number) => batch.arena.bytes.set(frame, at);
    batch.count = 2;
    for (const i of [0, 1]) {
      batch.outAt[i] = batch.slotAt[i] + HEADROOM;
      batch.outLength[i] = frames[i].length;
      place(frames[i], batch.outAt[i]);
      batch.verdict[i] = VERDICT_REPLY;
      batch.reason[i] = 0;
    }
    const answers = [frames[2], frames[3]];
    if (harness.impossibleReply !== null) answers[0] = harness.impossibleReply;
    answers.forEach((frame, a) => {
      // An impossible one may be longer than records are: the slots' ends take it.
      batch.answerAt[a] = frame.length > 1536 ? 0 : batch.arena.recordsAt + a * 1536;
      batch.answerLength[a] = frame.length;
      batch.answerTo[a] = a;
      if (batch.answerAt[a] > 0) place(frame, batch.answerAt[a]);
    });
    batch.answers = 2;
    batch.answersLost = 0;
    ingress.reply(batch);
    const lost = harness.impossibleReply === null ? 0 : 1;
    assert.equal(batch.answersLost, lost);
    assert.deepEqual(
      harness.replies().map((payload) => payload.length),
      lost === 0 ? [10, 20, 30, 40] : [10, 20, 40],
    );
    assert.deepEqual([...batch.verdict.subarray(0, 2)], [VERDICT_REPLY, VERDICT_REPLY]);
    harness.close();
    mapped.release();
  });

  test(`${name}: close gives every descriptor back, twice does no harm`, options, (t) => {
    driver.open(t, [udpPacket(100, 1)]).close();
    const before = descriptors();
    for (let i = 0; i < 5; i++) {
      const harness = driver.open(t, [udpPacket(100, 1)]);
      harness.ingress.close();
      harness.ingress.close();
      harness.close();
    }
    // One that another test left may be closed meanwhile.
    assert.deepEqual(
      descriptors().filter((descriptor) => !before.includes(descriptor)),
      [],
    );
  });
}

export interface EgressHarness {
  readonly egress: Egress;
  /** Source and destination addresses by family: what the lab can carry. */
  address(family: 4 | 6): { source: Uint8Array; destination: Uint8Array };
  /** Outer IP packets that arrived at the other end, partial checksums completed; waits until `count` are there or a second is over. */
  arrived(count: number): Uint8Array[];
  /** Largest outer packet that the way takes, or null when there is no such limit. */
  readonly mtu: number | null;
  /** The driver lets the kernel write IPv4 identification (checked apart). */
  readonly kernelHeader: boolean;
  /** An IPv4 destination without a route, or null when every destination is accepted. */
  readonly unreachable: Uint8Array | null;
  close(): void;
}

export interface EgressCase {
  readonly needs: readonly Part[];
  open(t: TestContext): EgressHarness;
  /** Sizes of the outer packet, up to what the way takes. */
  readonly sizes: readonly number[];
}

/** Puts packets into a batch as encapsulate leaves them: verdict forward, every outer offset set. */
export function stage(batch: Batch, packets: readonly OuterPacket[]): void {
  batch.count = packets.length;
  packets.forEach((packet, i) => {
    const at = batch.slotAt[i] + HEADROOM - 60;
    batch.arena.bytes.set(packet.bytes, at);
    batch.outAt[i] = at;
    batch.outLength[i] = packet.bytes.length;
    batch.outerNetworkAt[i] = at;
    batch.outerTransportAt[i] = at + packet.transportAt;
    batch.tunnelAt[i] = at + packet.transportAt + 8;
    batch.outerFamily[i] = packet.family;
    batch.sourcePort[i] = packet.sourcePort;
    batch.segmentCount[i] = 1;
    batch.verdict[i] = VERDICT_FORWARD;
    batch.reason[i] = 0;
  });
}

/** The packet with the fields zeroed that the kernel may choose: IPv4 identification and header checksum, IPv6 flow label. */
function comparable(packet: Uint8Array, kernelHeader: boolean): string {
  const copy = Buffer.from(packet);
  if (!kernelHeader) return copy.toString('hex');
  if (copy[0] >> 4 === 4) {
    copy.fill(0, 4, 6);
    copy.fill(0, 10, 12);
  } else {
    copy[1] &= 0xf0;
    copy.fill(0, 2, 4);
  }
  return copy.toString('hex');
}

export function egressContract(name: string, driver: EgressCase): void {
  const options = driver.needs.length === 0 ? {} : needs(...driver.needs);

  test(
    `${name}: every packet arrives as it was built: families mixed, checksum filled and not, class and TTL kept`,
    options,
    (t) => {
      const harness = driver.open(t);
      const { egress } = harness;
      const mapped = createBatch(fakeIngress(), 64);
      const packets: OuterPacket[] = [];
      driver.sizes.forEach((size, i) => {
        for (const family of [4, 6] as const) {
          const { sourcePortBase, sourcePortMask } = egress.facts;
          const sourcePort = sourcePortBase + ((i * 7919) & sourcePortMask);
          const checksum = family === 6 || i % 2 === 1;
          const common = { family, ...harness.address(family), sourcePort, size, checksum };
          packets.push(outerPacket({ ...common, trafficClass: i % 3 === 0 ? 0 : 0xb9, ttl: i % 4 === 1 ? 63 : 64 }));
        }
      });
      stage(mapped.batch, packets);
      // A packet of another verdict in the middle is none of the egress's business.
      mapped.batch.verdict[1] = VERDICT_DROP;
      egress.send(mapped.batch);
      const sent = packets.filter((_, i) => i !== 1);
      for (let i = 0; i < packets.length; i++) assert.equal(reasonOf(mapped.batch, i), 'none', `packet ${i}`);
      const arrived = harness.arrived(sent.length);
      assert.equal(arrived.length, sent.length);
      const shape = (list: Uint8Array[]) => list.map((packet) => comparable(packet, harness.kernelHeader));
      assert.deepEqual(shape(arrived).sort(), shape(sent.map((packet) => packet.bytes)).sort());
      harness.close();
      mapped.release();
    },
  );

  test(`${name}: packets of one flow keep their order`, options, (t) => {
    const harness = driver.open(t);
    const mapped = createBatch(fakeIngress(), 64);
    const packets = Array.from({ length: 64 }, (_, i) => {
      const sourcePort = harness.egress.facts.sourcePortBase + ((i % 4) & harness.egress.facts.sourcePortMask);
      return outerPacket({ family: 4, ...harness.address(4), sourcePort, size: 100 + i, checksum: false });
    });
    stage(mapped.batch, packets);
    harness.egress.send(mapped.batch);
    const arrived = harness.arrived(64);
    assert.equal(arrived.length, 64);
    for (const flow of [0, 1, 2, 3]) {
      const sizes = arrived.map((packet) => packet.length).filter((size) => (size - 100) % 4 === flow);
      assert.deepEqual(
        sizes,
        [...sizes].sort((a, b) => a - b),
      );
    }
    harness.close();
    mapped.release();
  });

  test(`${name}: a refused packet is dropped with its reason and its neighbours are sent`, options, (t) => {
    const harness = driver.open(t);
    if (harness.mtu === null || harness.unreachable === null) {
      harness.close();
      return;
    }
    const mapped = createBatch(fakeIngress(), 64);
    const sourcePort = harness.egress.facts.sourcePortBase;
    const common = { family: 4, ...harness.address(4), sourcePort, checksum: false } as const;
    const packets = [
      outerPacket({ ...common, size: 200 }),
      outerPacket({ ...common, size: harness.mtu + 1 }),
      outerPacket({ ...common, size: harness.mtu }),
      outerPacket({ ...common, size: 300, destination: harness.unreachable }),
      outerPacket({ ...common, family: 6, ...harness.address(6), size: harness.mtu + 1, checksum: true }),
      outerPacket({ ...common, size: 400 }),
    ];
    stage(mapped.batch, packets);
    harness.egress.send(mapped.batch);
    const words = packets.map((_, i) => reasonOf(mapped.batch, i));
    assert.deepEqual(words, ['none', 'send-too-big', 'none', 'send-unreachable', 'send-too-big', 'none']);
    assert.deepEqual([...mapped.batch.verdict.subarray(0, 6)], [1, 0, 1, 0, 0, 1]);
    assert.deepEqual(
      harness.arrived(3).map((packet) => packet.length),
      [200, harness.mtu, 400],
    );
    harness.close();
    mapped.release();
  });

  test(`${name}: close gives every descriptor back, twice does no harm`, options, (t) => {
    driver.open(t).close();
    const before = descriptors();
    for (let i = 0; i < 3; i++) {
      const harness = driver.open(t);
      harness.egress.close();
      harness.egress.close();
      harness.close();
    }
    // One that another test left may be closed meanwhile.
    assert.deepEqual(
      descriptors().filter((descriptor) => !before.includes(descriptor)),
      [],
    );
  });
}

/** A batch belongs to an ingress; these tests fill it by hand. */
function fakeIngress(): Ingress {
  return new MemoryIngress({ frames: [] });
}
