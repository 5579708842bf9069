import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { SlowDatagram, type Tracked } from '../../test/reference/fragments.ts';
import { FragmentTable, TRACK_DUPLICATE, TRACK_OVERLAP } from './fragment-table.ts';

const KEY = Int32Array.of(1, 2);
const word = (answer: number): Tracked =>
  answer === TRACK_DUPLICATE ? 'duplicate' : answer === TRACK_OVERLAP ? 'overlap' : 'ok';

function entry(table: FragmentTable, low: number, high: number, backend: number, now: number, isFirst = true): number {
  const at = table.insert(low, high, now);
  table.assign(at, backend, isFirst, 53, 17, 99, now);
  return at;
}

test('ranges are followed as the slow twin follows every unit', () => {
  const part = fc.record({
    from: fc.nat({ max: 40 }),
    units: fc.integer({ min: 1, max: 6 }),
    last: fc.boolean(),
    cut: fc.nat({ max: 7 }),
  });
  fc.assert(
    fc.property(fc.array(part, { maxLength: 40 }), (parts) => {
      const table = new FragmentTable(16, KEY, 5);
      const at = entry(table, 7, 8, 3, 0);
      const slow = new SlowDatagram();
      for (const { from, units, last, cut } of parts) {
        const end = (from + units) * 8 - (last ? cut : 0);
        assert.equal(word(table.track(at, from * 8, end, last, 0)), slow.track(from * 8, end, last));
        assert.equal(table.isComplete(at), slow.isComplete);
        assert.equal(table.backendAt(at), 3);
        assert.ok(table.hasFirst(at));
      }
    }),
    { numRuns: 2000 },
  );
});

test('a datagram cut in any order is complete with its last part and not before', () => {
  const shape = fc.record({ sizes: fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 12 }), seed: fc.nat() });
  fc.assert(
    fc.property(shape, fc.infiniteStream(fc.nat()), ({ sizes }, random) => {
      const parts: [number, number, boolean][] = [];
      let at = 0;
      sizes.forEach((size, k) => {
        parts.push([at * 8, (at + size) * 8 - (k === sizes.length - 1 ? 3 : 0), k === sizes.length - 1]);
        at += size;
      });
      const order = parts.map((part) => ({ part, rank: random.next().value as number })).sort((a, b) => a.rank - b.rank);
      const table = new FragmentTable(16, KEY, 5);
      const place = entry(table, 7, 8, 3, 0);
      order.forEach(({ part: [from, end, last] }, k) => {
        assert.equal(word(table.track(place, from, end, last, 0)), 'ok');
        assert.equal(table.isComplete(place), k === order.length - 1);
      });
    }),
  );
});

test('an entry answers until its timeout, and its place is taken by the datagram unused longest', () => {
  const table = new FragmentTable(16, KEY, 5);
  const low = (k: number) => k * (table.mask + 1);
  for (let k = 0; k < 4; k++) entry(table, low(k), k, k, 10);
  assert.equal(table.find(low(2), 2, 15) >= 0, true);
  assert.equal(table.find(low(2), 2, 16), -1);
  table.track(table.find(low(0), 0, 10), 0, 8, false, 10);
  entry(table, low(9), 9, 9, 10);
  assert.equal(table.evictions, 1);
  assert.equal(table.find(low(1), 1, 10), -1, 'the second is the oldest, since the first was used');
  assert.deepEqual(
    [0, 2, 3, 9].map((k) => table.backendAt(table.find(low(k), k, 10))),
    [0, 2, 3, 9],
  );
  assert.equal(table.occupancy(10), 4);
  // A dead one goes before any that lives, and is no eviction.
  entry(table, low(20), 20, 20, 16);
  assert.equal(table.evictions, 1);
});

test('a flood of datagrams takes no more memory than there is', () => {
  const table = new FragmentTable(1024, KEY, 5);
  for (let k = 0; k < 100_000; k++) entry(table, Math.imul(k, 0x9e3779b1), k, k & 7, 0);
  assert.equal(table.capacity, 1024);
  assert.equal(table.words.byteLength, FragmentTable.bytesFor(1024));
  assert.equal(table.occupancy(0), 1024);
});

test('a sibling sees first fragments and spoiled datagrams, and nothing else', () => {
  const memory = new SharedArrayBuffer(FragmentTable.bytesFor(64));
  const owner = new FragmentTable(64, KEY, 5, memory);
  const sibling = new FragmentTable(64, KEY, 5, memory);
  const news = sibling.news;
  const at = entry(owner, 5, 6, 4, 1, false);
  assert.equal(sibling.findForeign(5, 6, 1), false, 'only a later one was seen');
  assert.equal(sibling.news, news);
  owner.assign(at, 7, true, 4433, 17, -5, 2);
  assert.notEqual(sibling.news, news);
  assert.equal(sibling.findForeign(5, 6, 2), true);
  assert.deepEqual(
    [sibling.foreignBackend, sibling.foreignPort, sibling.foreignProtocol, sibling.foreignHash, sibling.foreignSeen],
    [7, 4433, 17, -5, 2],
  );
  owner.spoil(at);
  assert.equal(sibling.findForeign(5, 6, 2) && sibling.foreignSpoiled, true);
  assert.equal(sibling.findForeign(5, 6, 8), false, 'timed out');
  assert.throws(() => new FragmentTable(1024, KEY, 5, memory), RangeError);
});
