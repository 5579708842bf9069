// Fragments through the whole path: whatever their order, family and thread, those of one packet reach one worker and make the packet again.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counterAt, DROPS_AT } from '../../src/base/counters.ts';
import { DROP_REASON_COUNT } from '../../src/base/drop-reason.ts';
import { FragmentHold, type FragmentHoldOptions } from '../../src/pipeline/fragment-hold.ts';
import { FragmentTable } from '../../src/pipeline/fragment-table.ts';
import type { Spec } from '../../src/pipeline/spec.ts';
import { packet } from '../builder/packet.ts';
import fc from '../property.ts';
import { fragmentSlowly } from '../reference/fragment4.ts';
import { fragmentSlowly6 } from '../reference/fragment6.ts';
import { reassemble } from '../reference/fragments.ts';
import { decodeTunnel } from '../reference/tunnel.ts';
import { backends, type Outcome, Rig, SERVICE4, SERVICE6, type SpecOptions, specOf, TUN } from './rig.ts';

const KEY = Int32Array.of(11, 22);
const UDP: SpecOptions = { protocol: 17, ports: [53, 53] };

function datagram(
  family: 4 | 6,
  sport: number,
  bytes: number,
  id: number,
  options: { df?: boolean; dport?: number } = {},
): Uint8Array {
  const at = family === 4 ? packet().ipv4({ dst: SERVICE4, id, df: options.df ?? false }) : packet().ipv6({ dst: SERVICE6 });
  return at
    .udp({ sport, dport: options.dport ?? 53 })
    .payload(bytes)
    .bytes();
}

/** Fragments of at most `mtu` bytes. */
function cut(whole: Uint8Array, mtu = 1500, id = 1): Uint8Array[] {
  return whole[0] >> 4 === 4 ? fragmentSlowly(whole, mtu, id) : fragmentSlowly6(whole, mtu, id);
}

const payloadOf = (whole: Uint8Array) => whole.subarray(whole[0] >> 4 === 4 ? (whole[0] & 15) * 4 : 40);

/** A rig that holds, and what it was told to do: every outcome, released ones too. */
class HoldingRig extends Rig {
  readonly hold: FragmentHold;

  constructor(
    spec: Spec,
    options: FragmentHoldOptions = {},
    tables: { own?: FragmentTable; others?: FragmentTable[]; pathMtu?: number } = {},
  ) {
    const hold = new FragmentHold({ bytes: 1 << 20, frames: 256, ...options });
    super(spec, TUN, {
      hold,
      capacity: 8,
      records: 512,
      fragments: tables.own ?? new FragmentTable(256, KEY, 5),
      fragmentSiblings: tables.others ?? [],
      ...(tables.pathMtu === undefined ? {} : { pathMtu: tables.pathMtu }),
    });
    this.hold = hold;
  }

  /** What is forwarded or dropped, in the order in which it is; what is held appears when it goes on. */
  feed(frames: readonly Uint8Array[], now = 0): Outcome[] {
    const outcomes: Outcome[] = [];
    for (let from = 0; from < frames.length; from += this.batch.capacity) {
      outcomes.push(
        ...this.run(frames.slice(from, from + this.batch.capacity), { now }).filter(({ verdict }) => verdict !== 'held'),
      );
      outcomes.push(...this.released(now));
    }
    return outcomes;
  }

  released(now = 0): Outcome[] {
    const outcomes: Outcome[] = [];
    while (this.pipeline.release(this.batch, now) > 0) {
      this.pipeline.process(this.batch, now);
      for (let i = 0; i < this.batch.count; i++) outcomes.push(this.outcome(i));
      this.pipeline.account(this.batch);
    }
    return outcomes;
  }

  counted(name: Parameters<typeof counterAt>[0]): number {
    return this.bank[counterAt(name)];
  }
}

function inner(outcome: Outcome): Uint8Array {
  assert.equal(outcome.verdict, 'forward', outcome.reason);
  return decodeTunnel(outcome.bytes as Uint8Array).inner;
}

const shuffled = <T>(list: readonly T[], seed: number): T[] =>
  list
    .map((one, i) => ({ one, rank: Math.imul(i + 1, seed | 1) >>> 0 }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ one }) => one);

for (const family of [4, 6] as const) {
  test(`IPv${family}: fragments of many packets, in any order, make each packet again on one worker, the one of its flow`, () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 0x7fffffff }),
        fc.integer({ min: 1, max: 24 }),
        fc.integer({ min: 1600, max: 9000 }),
        (seed, count, size) => {
          const rig = new HoldingRig(specOf(UDP));
          const wholes = Array.from({ length: count }, (_, k) => datagram(family, 2000 + k, size + k, k + 1));
          const owners = wholes.map(
            (whole, k) => rig.one(datagram(family, 2000 + k, 10, 0)).backend ?? assert.fail(`${whole.length}`),
          );
          const pieces = wholes.flatMap((whole, k) => cut(whole, 1500, k + 1).map((bytes) => ({ k, bytes })));
          const order = shuffled(pieces, seed);
          const outcomes = rig.feed(order.map(({ bytes }) => bytes));
          assert.equal(outcomes.length, pieces.length);
          const arrived = wholes.map((): Uint8Array[] => []);
          for (const outcome of outcomes) {
            const bytes = inner(outcome);
            const k =
              pieces.find((piece) => Buffer.compare(piece.bytes, bytes) === 0)?.k ?? assert.fail('a fragment that nobody sent');
            assert.equal(outcome.backend, owners[k]);
            arrived[k].push(bytes);
          }
          wholes.forEach((whole, k) => {
            assert.deepEqual(reassemble(arrived[k]), payloadOf(whole));
          });
          assert.equal(rig.hold.waiting, 0);
          assert.equal(rig.counted('fragments_held_total'), rig.counted('fragments_released_total'));
          assert.equal(rig.counted('fragments_steered_total'), pieces.length - count);
          assert.equal(rig.counted('received_packets_total'), rig.counted('forwarded_packets_total'));
        },
      ),
      { numRuns: 40 },
    );
  });

  test(`IPv${family}: after a change of the pool all fragments of a packet still go where the first one went`, () => {
    const rig = new HoldingRig(specOf(UDP));
    for (let k = 0; k < 20; k++) {
      const pieces = cut(datagram(family, 3000 + k, 4000, 500 + k), 1500, 500 + k);
      const [first] = rig.feed([pieces[0]]);
      rig.publish(specOf({ ...UDP, backends: backends(k % 2 === 0 ? 8 : 3) }), 1 + k);
      for (const outcome of rig.feed(pieces.slice(1))) assert.equal(outcome.backend, first.backend);
    }
  });

  test(`IPv${family}: threads find each other's packets, whichever of them gets the first fragment`, () => {
    const memory = [0, 1, 2].map(() => new SharedArrayBuffer(FragmentTable.bytesFor(256)));
    const rigs = memory.map(
      (_, own) =>
        new HoldingRig(
          specOf(UDP),
          {},
          {
            own: new FragmentTable(256, KEY, 5, memory[own]),
            others: memory.filter((_, other) => other !== own).map((one) => new FragmentTable(256, KEY, 5, one)),
          },
        ),
    );
    const wholes = Array.from({ length: 60 }, (_, k) => datagram(family, 4000 + k, 4200, 900 + k));
    const pieces = shuffled(
      wholes.flatMap((whole, k) => cut(whole, 1500, 900 + k).map((bytes) => ({ k, bytes }))),
      0x6b43a9b5,
    );
    const outcomes = pieces.flatMap(({ bytes }, n) => rigs[(Math.imul(n + 1, 0x85ebca6b) >>> 16) % 3].feed([bytes]));
    for (const rig of rigs) outcomes.push(...rig.released());
    assert.equal(outcomes.length, pieces.length);
    const worker = new Map<number, string | null>();
    for (const outcome of outcomes) {
      const k = pieces.find((piece) => Buffer.compare(piece.bytes, inner(outcome)) === 0)?.k ?? assert.fail();
      assert.equal(worker.get(k) ?? outcome.backend, outcome.backend);
      worker.set(k, outcome.backend);
    }
    assert.equal(worker.size, 60);
    assert.ok(rigs.every((rig) => rig.hold.waiting === 0));
    assert.ok(rigs.filter((rig) => rig.counted('fragments_released_total') > 0).length > 1);
  });

  test(`IPv${family}: by-address and address affinity need no first fragment, and agree with it`, () => {
    const asked: SpecOptions[] = [{ fragments: 'by-address' }, { affinity: '3-tuple' }, { affinity: 'source-address' }];
    for (const options of asked) {
      const rig = new HoldingRig(specOf({ ...UDP, ...options }));
      const pieces = cut(datagram(family, 5000, 5000, 40), 1500, 40).reverse();
      const outcomes = rig.feed(pieces);
      assert.equal(new Set(outcomes.map(({ backend }) => backend)).size, 1);
      assert.equal(outcomes.length, pieces.length);
      assert.equal(rig.counted('fragments_held_total'), 0, JSON.stringify(options));
      const whole = rig.one(datagram(family, 5000, 10, 0));
      if (options.affinity !== undefined) assert.equal(outcomes[0].backend, whole.backend);
    }
  });

  test(`IPv${family}: with address affinity, what a change of the pool moves waits for the first one`, () => {
    const rig = new HoldingRig(specOf({ ...UDP, affinity: '3-tuple' }));
    // A flow that is older than the change.
    const before = rig.one(datagram(family, 5000, 10, 0)).backend;
    for (const count of [4, 5, 6, 7, 8, 2]) {
      rig.publish(specOf({ ...UDP, affinity: '3-tuple', backends: backends(count) }), 100);
      const pieces = cut(datagram(family, 5000, 5000, count), 1500, count).reverse();
      const outcomes = rig.feed(pieces, 101);
      const expected = rig.one(datagram(family, 5000, 10, 0), { now: 101 }).backend;
      assert.deepEqual([...new Set(outcomes.map(({ backend }) => backend))], [expected], `${count} workers, before ${before}`);
      assert.equal(outcomes.length, pieces.length);
    }
  });

  test(`IPv${family}: a service that takes none says so, of the first and of later ones`, () => {
    const rig = new HoldingRig(specOf({ ...UDP, fragments: 'drop' }));
    const reasons = rig.feed(cut(datagram(family, 1, 4000, 9))).map(({ reason }) => reason);
    assert.deepEqual(new Set(reasons), new Set(['fragment']));
  });

  test(`IPv${family}: a fragment whose first one never comes is dropped at its time, and counted as received then`, () => {
    const rig = new HoldingRig(specOf(UDP), { timeout: 1 });
    const [, later] = cut(datagram(family, 1, 4000, 9));
    assert.deepEqual(rig.feed([later], 10), []);
    assert.equal(rig.counted('received_packets_total'), 0);
    assert.deepEqual(rig.released(11), []);
    assert.equal(rig.hold.waiting, 1);
    rig.released(12);
    assert.equal(rig.hold.waiting, 0);
    assert.equal(rig.counted('received_packets_total'), 1);
    assert.equal(rig.counted('received_bytes_total'), later.length);
    assert.equal(rig.counted('fragments_timed_out_total'), 1);
  });

  test(`IPv${family}: an overlap ends its packet, a duplicate does not, and the identification is free again when all has gone`, () => {
    const rig = new HoldingRig(specOf(UDP));
    const [first, second, third] = cut(datagram(family, 1, 4000, 9), 1500, 9);
    const reasons = (frames: Uint8Array[], now = 0) =>
      rig.feed(frames, now).map(({ verdict, reason }) => (verdict === 'forward' ? verdict : reason));
    assert.deepEqual(reasons([first, second]), ['forward', 'forward']);
    assert.deepEqual(reasons([second, first]), ['fragment-duplicate', 'fragment-duplicate']);
    assert.deepEqual(reasons([third]), ['forward']);
    // Complete: the same identification is another packet now.
    assert.deepEqual(reasons([first, second, third]), ['forward', 'forward', 'forward']);
    const shifted = second.slice();
    const at = family === 4 ? 6 : 42;
    new DataView(shifted.buffer).setUint16(at, new DataView(shifted.buffer).getUint16(at) - (family === 4 ? 1 : 8));
    if (family === 4) refill(shifted);
    assert.deepEqual(reasons([first]), ['forward']);
    assert.deepEqual(reasons([shifted]), ['fragment-overlap']);
    assert.deepEqual(reasons([second, third, first]), ['fragment-overlap', 'fragment-overlap', 'fragment-overlap']);
    assert.deepEqual(reasons([first], 6), ['forward'], 'after its time the identification is free');
  });

  test(`IPv${family}: a first fragment whose datagram would be shorter than its header is no packet`, () => {
    const rig = new HoldingRig(specOf(UDP));
    const [first] = cut(datagram(family, 1, 4000, 9), 1500, 9);
    const transport = family === 4 ? 20 : 48;
    for (const [length, outcome] of [
      [0, 'malformed-transport'],
      [7, 'malformed-transport'],
      [8, 'forward'],
    ] as const) {
      const frame = first.slice();
      frame.set([0, length], transport + 4);
      const { verdict, reason } = rig.one(frame);
      assert.equal(verdict === 'forward' ? verdict : reason, outcome, `length ${length}`);
    }
  });

  test(`IPv${family}: what ends behind 65,535 bytes, or is empty or no multiple of 8, is dropped`, () => {
    const rig = new HoldingRig(specOf(UDP));
    const part = (offset: number, more: boolean, bytes: number) =>
      family === 4
        ? packet().ipv4({ dst: SERVICE4, df: false, offset, more, protocol: 17 }).payload(bytes).bytes()
        : packet().ipv6({ dst: SERVICE6 }).fragment({ offset, more, nextHeader: 17 }).payload(bytes).bytes();
    const wrong = [part(65_528, false, 100), part(65_000, false, 600), part(1480, true, 1001), part(1480, false, 0)];
    for (const frame of wrong) assert.equal(rig.one(frame).reason, 'fragment-length');
    assert.equal(rig.one(part(65_000, false, 500)).verdict, 'held', 'one that ends before is well');
  });
}

function refill(bytes: Uint8Array): void {
  bytes.fill(0, 10, 12);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += bytes[at] * 256 + bytes[at + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  new DataView(bytes.buffer).setUint16(10, ~sum);
}

test('a first fragment that comes a second after the last one of an incomplete packet begins a new one', () => {
  const rig = new HoldingRig(specOf(UDP));
  const one = cut(datagram(4, 1, 4000, 9));
  const other = cut(datagram(4, 77, 4000, 9));
  rig.feed([one[0], one[1]], 10);
  assert.equal(rig.feed([other[0]], 11)[0].reason, 'fragment-duplicate');
  const outcomes = rig.feed(other, 12);
  assert.deepEqual(reassemble(outcomes.map(inner)), payloadOf(datagram(4, 77, 4000, 9)));
});

test('an IPv6 atomic fragment is a whole packet: its flow, no entry, and its neighbours of the same identification do not matter', () => {
  const rig = new HoldingRig(specOf(UDP));
  const whole = () => packet().ipv6({ dst: SERVICE6 }).fragment({ id: 5 }).udp({ sport: 7, dport: 53 }).payload(30).bytes();
  const outcomes = rig.feed([whole(), whole(), whole()]);
  assert.deepEqual(
    outcomes.map(({ verdict }) => verdict),
    ['forward', 'forward', 'forward'],
  );
  assert.equal(outcomes[0].backend, rig.one(datagram(6, 7, 10, 0)).backend);
});

for (const family of [4, 6] as const) {
  test(`IPv${family}: an identification that comes again: later fragments on another thread than the first one's are no duplicates`, () => {
    const memory = [0, 1].map(() => new SharedArrayBuffer(FragmentTable.bytesFor(256)));
    const table = (k: number) => new FragmentTable(256, KEY, 5, memory[k]);
    const rigs = [0, 1].map((own) => new HoldingRig(specOf(UDP), {}, { own: table(own), others: [table(1 - own)] }));
    for (const [n, sport] of [4000, 4001, 4002, 4003].entries()) {
      const [first, ...later] = cut(datagram(family, sport, 4000, 7), 1500, 7);
      const now = 3 * n;
      const outcomes = [...rigs[0].feed([first], now), ...rigs[1].feed(later, now)];
      assert.deepEqual(
        outcomes.map(({ verdict, reason, backend }) => [verdict, reason, backend]),
        outcomes.map(() => ['forward', 'none', outcomes[0].backend]),
      );
      // Before its own thread has seen the first fragment of the next one, the entry of this one is not believed.
      assert.deepEqual(rigs[1].feed(later.slice(0, 1), now + 2), []);
      assert.equal(rigs[1].released(now + 4).length, 0);
    }
  });
}

test('later fragments of ICMP are dropped as the first ones are, also where a service takes any protocol', () => {
  const rig = new HoldingRig(specOf({ protocol: 256, ports: [0, 65535], affinity: '3-tuple' }));
  const four = packet().ipv4({ dst: SERVICE4, offset: 1480, df: false, protocol: 1 }).payload(40).bytes();
  const six = packet().ipv6({ dst: SERVICE6 }).fragment({ offset: 1480, nextHeader: 58 }).payload(40).bytes();
  assert.deepEqual(
    rig.feed([four, six]).map(({ reason }) => reason),
    ['fragment', 'fragment'],
  );
});

test('IPv6: two fragment headers, of which each reader could believe another one, are no packet', () => {
  const rig = new HoldingRig(specOf({ ...UDP, protocol: 6, ports: [443, 443] }));
  // As the first header says, a whole packet; as the second says, bytes 8 and on of a TCP header (RFC 3128).
  const hidden = packet().ipv6({ dst: SERVICE6 }).fragment({ id: 5 }).fragment({ id: 6, offset: 8, more: true, nextHeader: 6 });
  const first = packet()
    .ipv6({ dst: SERVICE6 })
    .fragment({ id: 5 })
    .fragment({ id: 6, more: true })
    .tcp({ sport: 9, dport: 443 });
  for (const bytes of [hidden.payload(16).bytes(), first.payload(4).bytes()]) {
    assert.deepEqual([rig.feed([bytes])[0]?.reason, rig.hold.waiting], ['ipv6-extension', 0]);
  }
});

test('an IPv6 fragment header behind other extension headers, and others behind it', () => {
  const rig = new HoldingRig(specOf(UDP));
  const chain = () => packet().ipv6({ dst: SERVICE6 }).extension('hop-by-hop').extension('destination');
  const first = chain()
    .fragment({ id: 5, more: true })
    .extension('destination')
    .udp({ sport: 7, dport: 53, length: 64 })
    .payload(24)
    .bytes();
  // The payload of the first: 8 of options, 8 of UDP, 24.
  const later = chain().fragment({ id: 5, offset: 40, nextHeader: 60 }).payload(32).bytes();
  const outcomes = rig.feed([later, first]);
  assert.equal(outcomes.length, 2);
  assert.equal(outcomes[0].verdict, 'forward', outcomes[0].reason);
  assert.equal(outcomes[1].backend, outcomes[0].backend);
});

test('services of one address that differ in port: a later fragment waits for the first, whatever each of them says', () => {
  const spec = specOf({ ...UDP, fragments: 'by-address' });
  const other = { ...spec.services[0], name: 'other', portFrom: 54, portTo: 54, fragments: 'hold' } as const;
  const rig = new HoldingRig({ ...spec, services: [...spec.services, other] });
  for (const dport of [53, 54]) {
    const pieces = cut(datagram(4, 1, 4000, dport, { dport }));
    assert.deepEqual(rig.feed([pieces[1]]), []);
    const outcomes = rig.feed([pieces[0], pieces[2]]);
    assert.equal(outcomes.length, 3);
    assert.equal(new Set(outcomes.map(({ backend }) => backend)).size, 1);
  }
});

test('a fragment too big for its tunnel is fragmented further: the worker puts the whole packet together', () => {
  for (const mtu of [1500, 1400, 600]) {
    const rig = new HoldingRig(specOf(UDP), {}, { pathMtu: mtu });
    const whole = datagram(4, 9, 8000, 33);
    const parts: Uint8Array[] = [];
    for (const piece of shuffled(cut(whole), 0x2c1b3c6d)) {
      rig.load([piece]);
      rig.pipeline.process(rig.batch, 0);
      collect(rig, parts);
      while (rig.pipeline.release(rig.batch, 0) > 0) {
        rig.pipeline.process(rig.batch, 0);
        collect(rig, parts);
      }
    }
    assert.ok(parts.every((part) => part.length + 32 <= mtu));
    assert.deepEqual(reassemble(parts), payloadOf(whole));
  }
});

/** The inner packets of all that is forwarded, trains part by part. */
function collect(rig: Rig, into: Uint8Array[]): void {
  const { batch } = rig;
  for (let i = 0; i < batch.count; i++) {
    if (rig.outcome(i).verdict === 'held') continue;
    assert.equal(rig.outcome(i).verdict, 'forward', rig.outcome(i).reason);
    if (batch.recordAt[i] < 0) {
      into.push(batch.arena.bytes.slice(batch.networkAt[i], batch.networkAt[i] + batch.networkLength[i]));
      continue;
    }
    for (let k = 0; k < batch.segmentCount[i]; k++) {
      const record = batch.recordOf(i, k);
      const header = batch.recordAt[i] + k * 256;
      const outer = 32;
      const head = batch.arena.bytes.slice(header + outer, header + batch.pieceHeader[record]);
      const body = batch.arena.bytes.slice(batch.pieceAt[record], batch.pieceAt[record] + batch.pieceLength[record]);
      into.push(Uint8Array.from([...head, ...body]));
    }
  }
}

test('an IPv6 fragment too big for its tunnel: the sender is told by the first one, a later one leaves in fragments of its tunnel packet', () => {
  const rig = new Rig(specOf(UDP), TUN, { pathMtu: 1500, records: 64, outerFragments: true, hold: new FragmentHold() });
  const pieces = cut(datagram(6, 9, 5000, 33));
  const [first, second] = rig.run(pieces.slice(0, 2));
  assert.equal(first.verdict, 'reply');
  assert.equal((first.bytes as Uint8Array)[40], 2, 'ICMPv6 packet too big');
  assert.equal(second.verdict, 'forward', second.reason);
  const without = new Rig(specOf({ ...UDP, oversize: 'drop' }), TUN, { pathMtu: 1500, records: 64, outerFragments: true });
  assert.deepEqual(
    without.run(pieces.slice(0, 2)).map(({ reason }) => reason),
    ['too-big', 'too-big'],
  );
});

test('a fragment that is said to be merged, or to have a checksum to be completed, is a lie', () => {
  const rig = new HoldingRig(specOf(UDP));
  const [first, second] = cut(datagram(4, 9, 4000, 3));
  assert.equal(rig.one(first, { virtio: { flags: 1, csumStart: 20, csumOffset: 6 } }).reason, 'bad-virtio-header');
  assert.equal(rig.one(second, { virtio: { gsoType: 5, gsoSize: 100 } }).reason, 'bad-virtio-header');
});

test('a flood of bogus fragments stays within its bounds, and packets that come meanwhile arrive', () => {
  const table = new FragmentTable(256, KEY, 5);
  const rig = new HoldingRig(specOf(UDP), { frames: 64, bytes: 65_536 }, { own: table });
  const bogus = (k: number, offset: number) =>
    packet()
      .ipv4({
        src: `203.0.${(k >> 8) & 255}.${k & 255}`,
        dst: SERVICE4,
        id: k & 0xffff,
        df: false,
        more: true,
        offset,
        protocol: 17,
      })
      .payload(64)
      .bytes();
  let arrived = 0;
  for (let k = 0; k < 4000; k++) {
    rig.feed([bogus(k, 0), bogus(k, 800), bogus(k + 7, 1600)]);
    if (k % 40 === 0)
      arrived += rig
        .feed(cut(datagram(4, k, 4000, k & 0xffff)).reverse())
        .filter(({ verdict, bytes }) => verdict === 'forward' && bytes !== null && bytes.length > 500).length;
    assert.ok(rig.hold.waiting <= 64);
  }
  assert.equal(arrived, 300);
  assert.ok(table.occupancy(0) <= 256);
  const sum = ['forwarded_packets_total', 'replied_packets_total', 'passed_packets_total'] as const;
  const drops = rig.bank.slice(DROPS_AT, DROPS_AT + DROP_REASON_COUNT).reduce((total, count) => total + count, 0);
  assert.equal(
    rig.counted('received_packets_total'),
    sum.reduce((total, name) => total + rig.counted(name), drops),
  );
});
