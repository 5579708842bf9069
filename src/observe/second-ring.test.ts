import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { type HeldSecond, HeldSeconds } from '../../test/reference/second-ring.ts';
import { MOST_SERIES, RECORDS_KEPT, SECONDS_KEPT, SecondRing } from './second-ring.ts';

function heldBy(ring: SecondRing): HeldSecond[] {
  const held: HeldSecond[] = [];
  ring.visit(
    ({ end, lasted }) => {
      held.push({ end, lasted, records: [] });
      return true;
    },
    (series, packets, bytes) => {
      held[held.length - 1].records.push({ series, packets, bytes });
    },
  );
  return held;
}

test('the ring holds what a list would, with every number it is given: against the list', () => {
  const record = fc.record({
    series: fc.integer({ min: 0, max: MOST_SERIES - 1 }),
    packets: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    bytes: fc.integer({ min: 0, max: 2 ** 44 - 1 }),
  });
  const second = fc.record({
    lasted: fc.double({ min: 0, max: 5000, noNaN: true }),
    records: fc.array(record, { maxLength: 12 }),
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 20 }),
      fc.array(second, { maxLength: 30 }),
      (seconds, records, steps) => {
        const ring = new SecondRing(seconds, records);
        const list = new HeldSeconds(seconds, records);
        let now = 1e12;
        for (const step of steps) {
          now += step.lasted;
          ring.begin(now, step.lasted);
          list.begin(now, step.lasted);
          for (const { series, packets, bytes } of step.records)
            assert.equal(ring.add(series, packets, bytes), list.add(series, packets, bytes));
          assert.deepEqual(heldBy(ring), list.held);
          assert.equal(ring.length, list.held.length);
          assert.ok(ring.records <= records);
          assert.equal(ring.oldest?.end, list.held[0].end);
          assert.equal(ring.newest?.end, now);
          assert.equal(ring.hasForgotten, list.hasForgotten);
        }
      },
    ),
  );
});

test('what exceeds a record is cut to its largest number', () => {
  const ring = new SecondRing(1, 1);
  ring.begin(1000, 1000);
  ring.add(7, 1e15, 1e15);
  assert.deepEqual(heldBy(ring)[0].records, [{ series: 7, packets: 2 ** 32 - 1, bytes: 2 ** 44 - 1 }]);
});

test('seconds that are not wanted are passed over', () => {
  const ring = new SecondRing(10, 10);
  for (let s = 1; s <= 5; s++) {
    ring.begin(s * 1000, 1000);
    ring.add(s, s, 0);
  }
  const seen: number[] = [];
  ring.visit(
    ({ end }) => end === 2000 || end === 5000,
    (series) => seen.push(series),
  );
  assert.deepEqual(seen, [2, 5]);
});

test('the bound that docs/history.md states: two hours, 24 MiB and the times', () => {
  assert.equal(SECONDS_KEPT, 7200);
  assert.equal(RECORDS_KEPT * 12, 24 * 2 ** 20);
  assert.ok(SecondRing.bytesFor() < 24.2 * 2 ** 20);
});
