import assert from 'node:assert/strict';
import { test } from 'node:test';
import { disruption } from './disruption.ts';
import type { Member } from './permutation.ts';
import { shareStatistics, tableShares } from './statistics.ts';
import { buildTable } from './table.ts';

const member = (last: number, weight = 1): Member => ({ identity: Uint8Array.of(192, 0, 2, last), weight });
const [a, b, c, d] = [1, 2, 3, 4].map((last) => member(last));

test('sorts each moved slot into own, gained and collateral', () => {
  // Slots:    left stayed moved-among-staying to-newcomer left-to-newcomer
  const before = Uint16Array.of(0, 1, 1, 2, 0);
  const after = Uint16Array.of(0, 0, 1, 2, 2);
  assert.deepEqual(disruption(before, [a, b, c], after, [b, c, d]), {
    slots: 5,
    moved: 4,
    own: 2,
    gained: 1,
    collateral: 1,
    least: 2,
    movedRatio: 0.8,
  });
});

test('the same table in another order of members moves nothing', () => {
  const x = disruption(buildTable([a, b, c], 101, 1), [a, b, c], buildTable([c, a, b], 101, 1), [c, a, b]);
  assert.deepEqual([x.moved, x.least], [0, 0]);
});

test('weight 0 counts as removed, and emptying a pool moves everything', () => {
  const off = [member(1, 0), b];
  const half = disruption(buildTable([a, b], 101, 1), [a, b], buildTable(off, 101, 1), off);
  assert.deepEqual([half.own, half.gained, half.collateral], [half.moved, 0, 0]);
  const none = disruption(buildTable([a, b], 101, 1), [a, b], buildTable([], 101, 1), []);
  assert.deepEqual([none.own, none.moved, none.least], [101, 101, 101]);
  const first = disruption(buildTable([], 101, 1), [], buildTable([a], 101, 1), [a]);
  assert.equal(first.moved, 101);
});

test('tables of different sizes can not be compared', () => {
  assert.throws(() => disruption(new Uint16Array(7), [a], new Uint16Array(11), [a]), /7 and 11 slots/);
});

test('shares and their statistics', () => {
  assert.deepEqual(tableShares(Uint16Array.of(0, 1, 1, 1, 3), 4), {
    counts: Uint32Array.of(1, 3, 0, 1),
    empty: 0,
    min: 0,
    max: 3,
    mean: 1.25,
    maxOverMean: 2.4,
    p5: 0,
    p25: 0,
    p50: 1,
    p75: 1,
    p95: 3,
  });
  assert.deepEqual(shareStatistics(new Uint32Array(0)).maxOverMean, 0);
  assert.throws(() => tableShares(Uint16Array.of(2), 2), /slot 0 names member 2 of 2/);
});
