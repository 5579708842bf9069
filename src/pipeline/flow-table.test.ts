import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { CONFIRM_WITHIN, CONFIRMED_IDLE, FlowTable } from './flow-table.ts';

const KEY = Int32Array.of(1, 2);

test('an entry is found again, confirmed by its second packet, and follows a reassignment', () => {
  const flows = new FlowTable(64, KEY);
  assert.equal(flows.find(5, 7), -1);
  assert.ok(flows.insert(5, 7, 42, 100, false));
  const at = flows.find(5, 7);
  assert.ok(at >= 0);
  assert.equal(flows.backendAt(at), 42);
  assert.equal(flows.confirmedAt(at), false);
  flows.refresh(at, 101);
  assert.equal(flows.confirmedAt(at), true);
  assert.equal(flows.lastSeenAt(at), 101);
  flows.reassign(at, 43, 102);
  assert.equal(flows.backendAt(flows.find(5, 7)), 43);
  assert.equal(flows.find(5, 8), -1, 'both halves of the fingerprint count');
});

test('a second packet after a minute confirms nothing: it may be of another flow with the same ports; the third at once does', () => {
  const flows = new FlowTable(64, KEY);
  flows.insert(5, 7, 42, 100, false);
  const at = flows.find(5, 7);
  flows.refresh(at, 101 + CONFIRM_WITHIN);
  assert.equal(flows.confirmedAt(at), false);
  assert.equal(flows.lastSeenAt(at), 101 + CONFIRM_WITHIN);
  flows.refresh(at, 101 + 2 * CONFIRM_WITHIN);
  assert.equal(flows.confirmedAt(at), true);
});

test('backend 0 and a fingerprint of zeros are a flow like any other', () => {
  const flows = new FlowTable(16, KEY);
  assert.equal(flows.find(0, 0), -1);
  flows.insert(0, 0, 0, 1, false);
  assert.equal(flows.backendAt(flows.find(0, 0)), 0);
});

test('an entry seen once never evicts a confirmed one that is alive', () => {
  const flows = new FlowTable(16, KEY);
  for (let high = 1; high <= 4; high++) {
    flows.insert(0, high, high, 100, false);
    flows.refresh(flows.find(0, high), 100);
  }
  for (let flood = 10; flood < 1000; flood++) assert.equal(flows.insert(0, flood, 9, 100 + CONFIRMED_IDLE - 1, false), false);
  for (let high = 1; high <= 4; high++) assert.equal(flows.backendAt(flows.find(0, high)), high);
  assert.deepEqual([flows.evictions, flows.refused], [0, 990]);
  assert.ok(flows.insert(0, 10, 9, 100 + CONFIRMED_IDLE, false), 'after the idle time the oldest gives way');
});

test('unconfirmed entries give way first, the oldest of them', () => {
  const flows = new FlowTable(16, KEY);
  flows.insert(0, 1, 1, 100, false);
  flows.insert(0, 2, 2, 50, false);
  flows.refresh(flows.find(0, 2), 50);
  flows.insert(0, 3, 3, 90, false);
  flows.insert(0, 4, 4, 95, false);
  assert.ok(flows.insert(0, 5, 5, 101, false));
  assert.equal(flows.find(0, 3), -1);
  for (const high of [1, 2, 4, 5]) assert.ok(flows.find(0, high) >= 0);
  assert.equal(flows.evictions, 1);
});

test('memory is fixed; a second table over the same memory sees the flows', () => {
  const memory = new SharedArrayBuffer(1024 * 16);
  const flows = new FlowTable(1024, KEY, memory);
  assert.equal(flows.capacity, 1024);
  flows.insert(77, 88, 3, 10, false);
  const sibling = new FlowTable(1024, KEY, memory);
  assert.equal(sibling.findForeign(77, 88), 3);
  assert.equal(sibling.foreignSeen, 10);
  assert.equal(sibling.findForeign(77, 89), -1);
  assert.throws(() => new FlowTable(2048, KEY, memory), /needs 32768 bytes/);
});

interface SlowEntry {
  readonly high: number;
  readonly low: number;
  readonly backend: number;
  seen: number;
  confirmed: boolean;
}

/** The obvious twin: per bucket four places, searched and replaced by the rule as a sentence. */
class SlowTable {
  readonly buckets = new Map<number, (SlowEntry | null)[]>();
  readonly mask: number;

  constructor(buckets: number) {
    this.mask = buckets - 1;
  }

  packet(low: number, high: number, backend: number, now: number): number {
    const bucket = this.buckets.get(low & this.mask) ?? [null, null, null, null];
    this.buckets.set(low & this.mask, bucket);
    const known = bucket.find((e) => e?.low === low && e.high === high);
    if (known != null) {
      if (now - known.seen <= CONFIRM_WITHIN) known.confirmed = true;
      known.seen = now;
      return known.backend;
    }
    const entry = { high, low, backend, seen: now, confirmed: false };
    // Among equals the place that differs from the fingerprint's two last bits in the fewest high bits.
    const places = [0, 1, 2, 3].sort((a, b) => (a ^ (high & 3)) - (b ^ (high & 3)));
    const replaceable = places.filter((i) => {
      const there = bucket[i];
      return there === null || !there.confirmed || now - there.seen >= CONFIRMED_IDLE;
    });
    const rank = (i: number) => {
      const there = bucket[i];
      return there === null ? -2 : (there.confirmed ? 1e9 : 0) + there.seen;
    };
    replaceable.sort((a, b) => rank(a) - rank(b));
    if (replaceable.length > 0) bucket[replaceable[0]] = entry;
    return backend;
  }
}

test('unconfirmed entries of one second: a flood takes any of the four places, and leaves a new flow beside it three chances in four', () => {
  let left = 0;
  for (let flow = 0; flow < 400; flow++) {
    const flows = new FlowTable(16, KEY);
    for (let other = 0; other < 4; other++) flows.insert(0, 1000 + other, 1, 100, false);
    flows.insert(0, flow, 2, 101, false);
    // What is a second older goes first, three of them; then the new flow is one of four.
    for (let other = 0; other < 4; other++) flows.insert(0, 2000 + Math.imul(flow * 4 + other, 0x9e3779b1), 3, 101, false);
    if (flows.find(0, flow) >= 0) left++;
  }
  assert.ok(left > 260 && left < 340, `${left} of 400 are left`);
});

test('property: the same backends as the slow twin, whatever the order of packets', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ flow: fc.integer({ min: 0, max: 40 }), step: fc.constantFrom(0, 0, 0, 1, 50, 60, 61, 700) }), {
        maxLength: 400,
      }),
      (packets) => {
        const fast = new FlowTable(16, KEY);
        const slow = new SlowTable(4);
        let now = 1000;
        packets.forEach(({ flow, step }, n) => {
          now += step;
          const low = flow % 8;
          const high = flow >> 3;
          const at = fast.find(low, high);
          let backend = n & 0xffff;
          if (at >= 0) {
            fast.refresh(at, now);
            backend = fast.backendAt(at);
          } else fast.insert(low, high, backend, now, false);
          assert.equal(backend, slow.packet(low, high, n & 0xffff, now));
        });
      },
    ),
    { numRuns: 200 },
  );
});

test('a shard over the memory of another is the same shard, shared or not', () => {
  const key = Int32Array.of(1, 2);
  const own = new FlowTable(64, key);
  const memory = own.words.buffer as SharedArrayBuffer;
  const other = new FlowTable(64, key, memory, true);
  for (let low = 0; low < 200; low++) assert.equal((low & 1 ? own : other).insert(low, low * 3, low, 5, false), true);
  assert.deepEqual(own.occupancy(), { entries: 64, confirmed: 0 });
  assert.deepEqual(other.occupancy(), own.occupancy());
  for (let low = 0; low < 200; low++) {
    const at = own.find(low, low * 3);
    assert.equal(other.findForeign(low, low * 3), at < 0 ? -1 : own.backendAt(at));
  }
  assert.equal(own.evictions + other.evictions, 200 - 64);
});
