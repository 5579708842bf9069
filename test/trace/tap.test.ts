// What a trace tells, against what happened: random packets with extension headers, fragments and lies in every field go through the packet path in batches, past a tap with a random
// filter. The packets that it tells, their bytes as they came and every packet that left must be those that a slow twin finds by looking at each beforehand and afterwards.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress } from '../../src/base/address.ts';
import { Arena, BATCH_RECORDS, LARGE_STRIDE } from '../../src/base/arena.ts';
import { Batch, LINK_ETHERNET } from '../../src/base/batch.ts';
import { createBank } from '../../src/base/counters.ts';
import { DROP_REASONS } from '../../src/base/drop-reason.ts';
import { segmentBytes } from '../../src/base/segment-bytes.ts';
import { VERDICT_DROP, VERDICT_FORWARD, VERDICT_HELD, VERDICT_REPLY, VERDICTS } from '../../src/base/verdict.ts';
import { clearFrame, placeFrame } from '../../src/io/frame.ts';
import { FlowTable } from '../../src/pipeline/flow-table.ts';
import { Pipeline } from '../../src/pipeline/pipeline.ts';
import { Snapshot, SnapshotBuilder } from '../../src/pipeline/snapshot.ts';
import { parseFilter } from '../../src/trace/filter/parse.ts';
import { LEFT_FORWARD, LEFT_REPLY, readRecord, type TraceRecord } from '../../src/trace/record.ts';
import { RingReader, ringMemory } from '../../src/trace/ring.ts';
import { TraceTap } from '../../src/trace/tap.ts';
import { packet } from '../builder/packet.ts';
import { VIP4, VIP6 } from '../full/packets.ts';
import { Random } from '../full/random.ts';
import { draftCase } from '../full/sizes/draft.ts';
import { BACKENDS, INGRESSES, PORTS, specOf } from '../full/sizes/place.ts';
import { backends, specOf as clampSpec, SERVICE4, TUN } from '../pipeline/rig.ts';
import { type Decision, filterMatches } from '../reference/trace-filter.ts';
import { type Pool, randomFilter } from './filters.ts';

const SPEC = specOf();
const PARTS = new SnapshotBuilder().build(SPEC);
const POOL: Pool = {
  hosts: [formatAddress(VIP4), formatAddress(VIP6), '198.51.100.7', '198.51.100.200', '2001:db8::7'],
  nets: ['198.51.100.0/24', '198.51.100.128/25', '0.0.0.0/0', '::/0', '2001:db8::/32', '203.0.113.0/24'],
  ports: [...PORTS.slice(0, 4), ...PORTS.slice(-2)],
  services: SPEC.services.map(({ name }) => name),
  pools: SPEC.pools.map(({ name }) => name),
  backends: PARTS.names.backends.map(({ pool, name }) => `${pool}/${name}`),
};
const CAPACITY = 8;

/** Where the IP packet of a frame begins; its end when it carries none. */
function networkOf(frame: Uint8Array, isEthernet: boolean): number {
  if (!isEthernet) return 0;
  let at = 12;
  for (let tags = 0; tags <= 2; tags++) {
    if (at + 2 > frame.length) return frame.length;
    const type = (frame[at] << 8) | frame[at + 1];
    if (type === 0x0800 || type === 0x86dd) return at + 2;
    if (type !== 0x8100 && type !== 0x88a8) return frame.length;
    at += 4;
  }
  return frame.length;
}

interface Expected {
  readonly frame: Uint8Array;
  readonly packet: Uint8Array;
  readonly decision: Decision;
  readonly left: readonly Uint8Array[];
  /** Bytes of headers in each part of a train; empty for what left as one packet. */
  readonly headers: readonly number[];
  /** Bytes in front of the inner packet, in each that left; −1 where tunnel packets are cut into fragments. */
  readonly outer: number;
  readonly back: readonly Uint8Array[];
}

/** Where the first payload begins in the packet that came, its inner headers end; what the record has more stands before them. */
function partsOf(batch: Batch, i: number): { headers: number[]; outer: number } {
  if (batch.recordAt[i] < 0) return { headers: [], outer: batch.networkAt[i] - batch.outAt[i] };
  const first = batch.recordOf(i, 0);
  const headers = [...batch.pieceHeader.subarray(first, first + batch.segmentCount[i])];
  return { headers, outer: batch.fragmentsOuter[i] === 0 ? headers[0] - (batch.pieceAt[first] - batch.networkAt[i]) : -1 };
}

/** As the IP header at `at` says. */
const claimedLength = (bytes: Uint8Array, at: number) =>
  bytes[at] >>> 4 === 4 ? (bytes[at + 2] << 8) | bytes[at + 3] : 40 + ((bytes[at + 4] << 8) | bytes[at + 5]);
/** Outer IPv6 with a fragment header, UDP and GUE. */
const MOST_OUTER = 60;

/** What is wrong with the number of bytes that were kept of a packet that left; null when it is what `snap` allows of what the client sent. */
function keptObjection(bytes: Uint8Array, whole: Uint8Array, k: number, came: number, expected: Expected, snap: number) {
  const { outer, headers } = expected;
  const inner = headers.length > 0 ? Math.max(headers[k] - Math.max(outer, 0), snap) : came;
  if (outer < 0) return bytes.length > MOST_OUTER + inner ? `${bytes.length} bytes kept of a fragment` : null;
  if (claimedLength(whole, outer) !== whole.length - outer) return `no inner packet at ${outer}`;
  const wanted = Math.min(whole.length, outer + inner);
  return bytes.length === wanted ? null : `${bytes.length} bytes kept of a packet that left, not ${wanted}`;
}

/** What the batch says of packet `i`, whose frame was `frame`. */
function expectation(batch: Batch, i: number, frame: Uint8Array): Expected {
  const isEthernet = batch.ingress.link === LINK_ETHERNET;
  const at = networkOf(frame, isEthernet);
  const verdict = batch.verdict[i];
  const service = SPEC.services[batch.service[i]];
  const backend = PARTS.names.backends.find(({ id }) => id === batch.backend[i]);
  const { bytes } = batch.arena;
  const reply = (from: number, length: number) => bytes.slice(from + at, from + length);
  return {
    frame,
    packet: frame.subarray(at),
    decision: {
      verdict: verdict === VERDICT_HELD ? 'held' : VERDICTS[verdict],
      reason: verdict === VERDICT_DROP ? DROP_REASONS[batch.reason[i]].word : '',
      service: service?.name ?? null,
      pool: service?.pool ?? null,
      backend: backend === undefined ? null : `${backend.pool}/${backend.name}`,
    },
    left:
      verdict === VERDICT_FORWARD
        ? Array.from({ length: batch.recordAt[i] < 0 ? 1 : batch.segmentCount[i] }, (_, k) => segmentBytes(batch, i, k))
        : [],
    ...partsOf(batch, i),
    back: [
      ...(verdict === VERDICT_REPLY ? [reply(batch.outAt[i], batch.outLength[i])] : []),
      ...[...batch.answerTo.subarray(0, batch.answers)].flatMap((to, a) =>
        to === i ? [reply(batch.answerAt[a], batch.answerLength[a])] : [],
      ),
    ],
  };
}

const isPrefix = (bytes: Uint8Array, whole: Uint8Array) =>
  bytes.length <= whole.length && bytes.every((byte, k) => byte === whole[k]);

/** What is wrong with what was told of a packet; null when nothing is. */
function objection(record: TraceRecord, expected: Expected, snap: number): string | null {
  const { packet, frame } = expected;
  if (record.length !== (packet.length === 0 ? frame.length : packet.length)) return `length ${record.length}`;
  if (!isPrefix(record.bytes, packet)) return `other bytes than it came with: ${Buffer.from(record.bytes).toString('hex')}`;
  if (snap > 0 && record.bytes.length !== Math.min(snap, packet.length)) return `${record.bytes.length} bytes kept`;
  const sent = record.left.filter(({ kind }) => kind === LEFT_FORWARD);
  const back = record.left.filter(({ kind }) => kind === LEFT_REPLY);
  if (sent.length !== expected.left.length || back.length !== expected.back.length)
    return `${sent.length} left, ${back.length} went back`;
  const wrong = [...sent, ...back].findIndex(({ bytes, length }, k) => {
    const whole = [...expected.left, ...expected.back][k];
    return length !== whole.length || !isPrefix(bytes, whole) || (snap === 65_535 && bytes.length !== whole.length);
  });
  if (wrong >= 0) return `packet ${wrong} that left is another one`;
  const tooFar = back.find(({ bytes, length }) => snap > 0 && bytes.length > 0 && bytes.length !== Math.min(snap, length));
  if (tooFar !== undefined) return `${tooFar.bytes.length} bytes kept of an answer`;
  const objections = sent.map(({ bytes }, k) => keptObjection(bytes, expected.left[k], k, record.bytes.length, expected, snap));
  return objections.find((one) => one !== null) ?? null;
}

class Stage {
  readonly random: Random;
  readonly counts = new Map<string, number>();
  told = 0;
  readonly #pathMtu = new Int32Array(BACKENDS * 8);
  readonly #places = INGRESSES.map((facts) => {
    const batch = new Batch(Arena.inProcess(CAPACITY, LARGE_STRIDE, BATCH_RECORDS), facts);
    const pipeline = new Pipeline({
      snapshot: new Snapshot(PARTS),
      flows: new FlowTable(256, Int32Array.of(1, 2)),
      bank: createBank(),
      sourcePortBase: 49152,
      sourcePortMask: 16383,
      pathMtu: this.#pathMtu,
      outerFragments: true,
    });
    return { batch, pipeline, tap: new TraceTap(batch, pipeline, { milliseconds: () => 1 }) };
  });
  readonly #memory = ringMemory(8 * 1024 * 1024);
  readonly #reader = new RingReader(this.#memory);

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  round(filter: string, batches: number): void {
    const { random } = this;
    for (let id = 0; id < this.#pathMtu.length; id++) this.#pathMtu[id] = random.pick([0, 1280, 1500, 1532, 9000]);
    const number = random.below(INGRESSES.length);
    const { batch, pipeline, tap } = this.#places[number];
    const snap = random.pick([0, 64, 128, 65_535]);
    const expression = parseFilter(filter);
    tap.follow({ filter: expression, snap, rate: 10_000, until: 2 ** 31 - 1, ring: this.#memory }, PARTS.names);
    for (let b = 0; b < batches; b++) {
      batch.count = 1 + random.below(CAPACITY);
      const frames = Array.from({ length: batch.count }, (_, i) => {
        const { frame, facts } = draftCase(random, INGRESSES[number], PORTS);
        clearFrame(batch, i);
        batch.virtioFlags[i] = facts.virtioFlags;
        batch.gsoType[i] = facts.gsoType;
        batch.gsoSize[i] = facts.gsoSize;
        batch.headerLength[i] = facts.headerLength;
        batch.csumStart[i] = facts.csumStart;
        batch.csumOffset[i] = facts.csumOffset;
        placeFrame(batch, i, frame);
        // Of one that is longer than a slot, what fits.
        return batch.arena.bytes.slice(batch.frameAt[i], batch.frameAt[i] + batch.frameLength[i]);
      });
      tap.before(b);
      pipeline.process(batch, 100);
      tap.after();
      const wanted = frames
        .map((frame, i) => expectation(batch, i, frame))
        .filter(({ packet, decision }) => filterMatches(expression, packet, decision));
      pipeline.account(batch);
      const context = () => `${filter}; ingress ${number}, snap ${snap}, batch ${b}`;
      for (const expected of wanted) {
        const at = this.#reader.next();
        assert.ok(
          at >= 0,
          `${context()}: not told: ${expected.decision.verdict} ${expected.decision.reason} ${Buffer.from(expected.packet.subarray(0, 80)).toString('hex')}`,
        );
        const record = readRecord(this.#reader.view, at);
        const wrong = objection(record, expected, snap);
        assert.equal(
          wrong,
          null,
          `${context()}: ${wrong}; ${expected.decision.verdict} ${expected.decision.reason} ${Buffer.from(expected.packet.subarray(0, 100)).toString('hex')}`,
        );
        this.#reader.release();
        this.told++;
        this.counts.set(
          expected.decision.reason || expected.decision.verdict,
          (this.counts.get(expected.decision.reason || expected.decision.verdict) ?? 0) + 1,
        );
      }
      assert.equal(this.#reader.next(), -1, `${context()}: told one too many`);
    }
    tap.follow(null, PARTS.names);
  }
}

/** The packet path over one snapshot, with nothing that may be left out. */
function pathOver(parts: typeof PARTS): Pipeline {
  return new Pipeline({
    snapshot: new Snapshot(parts),
    flows: new FlowTable(64, Int32Array.of(1, 2)),
    bank: createBank(),
    sourcePortBase: 49152,
    sourcePortMask: 16383,
  });
}

test('what is told of random packets by random filters is what happened to those that match', () => {
  const stage = new Stage(20_261_123);
  for (let round = 0; round < 400; round++) stage.round(randomFilter(stage.random, POOL, true), 4);
  assert.ok(stage.told > 1500, `only ${stage.told} packets matched`);
  for (const word of ['forward', 'reply', 'pass', 'not-a-service', 'too-big'])
    assert.ok(stage.counts.has(word), `never told: ${word}`);
});

test('without a filter every packet is told as it came, whatever the path did to it', () => {
  const stage = new Stage(7);
  for (let round = 0; round < 120; round++)
    stage.round(stage.random.pick(['', 'dropped or not dropped', 'verdict reply', 'verdict forward', 'dropped']), 6);
  assert.ok((stage.counts.get('reply') ?? 0) > 5 && (stage.counts.get('forward') ?? 0) > 500, JSON.stringify([...stage.counts]));
});

test('a SYN whose MSS is clamped is told as it came, and what left as it left', () => {
  const spec = clampSpec({ mssClamp: 1000, backends: backends(1) });
  // One service of two addresses: two numbers, one id.
  const services = spec.services.map((service) => ({ ...service, name: 'web' })).reverse();
  const parts = new SnapshotBuilder().build({ ...spec, services });
  assert.equal(parts.names.services.length, 1);
  const batch = new Batch(Arena.inProcess(1, LARGE_STRIDE, BATCH_RECORDS), TUN);
  const pipeline = pathOver(parts);
  const tap = new TraceTap(batch, pipeline, { milliseconds: () => 1 });
  const memory = ringMemory(65_536);
  const reader = new RingReader(memory);
  const syn = packet()
    .ipv4({ dst: SERVICE4 })
    .tcp({ dport: 443, flags: 'SYN', options: Uint8Array.of(2, 4, 1460 >> 8, 1460 & 255) })
    .bytes();
  for (const filter of ['service web', 'pool p', 'syn']) {
    tap.follow({ filter: parseFilter(filter), snap: 0, rate: 10, until: 2 ** 31 - 1, ring: memory }, parts.names);
    batch.count = 1;
    clearFrame(batch, 0);
    placeFrame(batch, 0, syn);
    tap.before(1);
    pipeline.process(batch, 100);
    tap.after();
    pipeline.account(batch);
    const { bytes, left, service } = readRecord(reader.view, reader.next());
    assert.equal(service, parts.names.services[0].id);
    reader.release();
    assert.deepEqual(bytes, syn, filter);
    assert.equal((left[0].bytes[left[0].bytes.length - 2] << 8) | left[0].bytes[left[0].bytes.length - 1], 1000);
  }
});

test('over the rate, and in a ring that nobody reads, packets are left out and counted', () => {
  const stage = (rate: number, bytes: number) => {
    const batch = new Batch(Arena.inProcess(4, LARGE_STRIDE, BATCH_RECORDS), TUN);
    const pipeline = pathOver(PARTS);
    const tap = new TraceTap(batch, pipeline, { milliseconds: () => 1 });
    const memory = ringMemory(bytes);
    const follow = (filter: string) =>
      tap.follow({ filter: parseFilter(filter), snap: 0, rate, until: 50, ring: memory }, PARTS.names);
    const send = (filter: string, second: number, batches: number) => {
      follow(filter);
      for (let b = 0; b < batches; b++) {
        batch.count = 4;
        for (let i = 0; i < 4; i++) {
          clearFrame(batch, i);
          placeFrame(batch, i, packet().ipv4({ dst: '203.0.113.5' }).udp({ dport: 5 }).bytes());
        }
        if (tap.on) tap.before(second);
        pipeline.process(batch, 100);
        if (tap.on) tap.after();
        pipeline.account(batch);
      }
    };
    return { send, tap, batch, follow, tally: () => new RingReader(memory).tally() };
  };
  for (const filter of ['dst host 203.0.113.5', 'dropped']) {
    const rated = stage(10, 65_536);
    rated.send(filter, 1, 10);
    assert.deepEqual(rated.tally(), { matched: 40, overRate: 30, noRoom: 0 }, filter);
    const full = stage(10_000, 1024);
    full.send(filter, 1, 10);
    const { matched, overRate, noRoom } = full.tally();
    assert.deepEqual([matched, overRate], [40, 0]);
    assert.ok(noRoom >= 30 && noRoom < 40, `${noRoom} had no room`);
  }
  // Whatever main does, a thread stops when its time is over.
  const late = stage(10, 65_536);
  late.send('dropped', 50, 3);
  assert.deepEqual([late.tap.on, late.tally().matched], [false, 0]);
  // Also where its loop asks it once more about that batch, which has nothing of the batch before.
  const { tap, batch, tally, follow } = stage(10, 65_536);
  follow('dropped');
  batch.count = 4;
  batch.verdict.fill(VERDICT_DROP);
  for (const second of [49, 50]) {
    tap.before(second);
    tap.after();
  }
  assert.deepEqual([tap.on, tally().matched], [false, 4]);
});

test('a small rate leaves out none of the few that match among many that might have', () => {
  const batch = new Batch(Arena.inProcess(16, LARGE_STRIDE, BATCH_RECORDS), TUN);
  const spec = clampSpec({ backends: backends(1) });
  const parts = new SnapshotBuilder().build(spec);
  const pipeline = pathOver(parts);
  const tap = new TraceTap(batch, pipeline, { milliseconds: () => 1 });
  const memory = ringMemory(65_536);
  const reader = new RingReader(memory);
  tap.follow({ filter: parseFilter('tcp and dropped'), snap: 0, rate: 4, until: 50, ring: memory }, parts.names);
  // The last one of each batch is for a port that no service has.
  for (let second = 1; second <= 3; second++) {
    batch.count = 16;
    for (let i = 0; i < 16; i++) {
      clearFrame(batch, i);
      placeFrame(
        batch,
        i,
        packet()
          .ipv4({ dst: SERVICE4 })
          .tcp({ sport: 1000 + second, dport: i === 15 ? 9 : 443, flags: 'SYN' })
          .bytes(),
      );
    }
    tap.before(second);
    pipeline.process(batch, 100);
    tap.after();
    pipeline.account(batch);
    const at = reader.next();
    assert.ok(at >= 0, `second ${second}: not told`);
    const { bytes } = readRecord(reader.view, at);
    assert.deepEqual([(bytes[20] << 8) | bytes[21], (bytes[22] << 8) | bytes[23]], [1000 + second, 9]);
    reader.release();
  }
  assert.deepEqual(reader.tally(), { matched: 3, overRate: 0, noRoom: 0 });
});

test('an error while a packet is looked at ends the trace, is told once, and leaves the path alone', () => {
  for (const filter of ['host 203.0.113.9', 'not icmp and dropped', '']) {
    const batch = new Batch(Arena.inProcess(16, LARGE_STRIDE, BATCH_RECORDS), TUN);
    const parts = new SnapshotBuilder().build(clampSpec({ backends: backends(1) }));
    const faults: unknown[] = [];
    const tap = new TraceTap(batch, pathOver(parts), { milliseconds: () => 1 }, { fault: (error) => faults.push(error) });
    tap.follow({ filter: parseFilter(filter), snap: 0, rate: 4, until: 50, ring: ringMemory(65_536) }, parts.names);
    batch.count = 4;
    // No packet can lie there: reading it throws, as a mistake of ours would.
    batch.frameAt.fill(batch.arena.view.byteLength);
    batch.frameLength.fill(60);
    batch.verdict.fill(VERDICT_DROP);
    for (let round = 0; round < 2; round++) {
      if (tap.on) tap.before(1);
      tap.after();
    }
    assert.deepEqual([tap.on, faults.length, faults[0] instanceof RangeError], [false, 1, true], filter);
  }
});
