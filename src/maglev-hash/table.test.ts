import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { referenceIdentityHash, referenceTable } from '../../test/reference/maglev.ts';
import { digestTable } from './digest.ts';
import { disruption } from './disruption.ts';
import { hashIdentity } from './hash.ts';
import type { Member } from './permutation.ts';
import { EMPTY_SLOT } from './permutation.ts';
import { tableShares } from './statistics.ts';
import { buildTable, checkTableSize } from './table.ts';

/** Members 10.1.x.y, weight by index. */
function numbered(count: number, weight: (i: number) => number = () => 1): Member[] {
  return Array.from({ length: count }, (_, i) => ({ identity: Uint8Array.of(10, 1, i >> 8, i & 0xff), weight: weight(i) }));
}

const identity = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc.uint8Array({ maxLength: 9 }),
);
const weight = fc.oneof(fc.constant(1), fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 65535 }));
const memberList = (maxLength: number) =>
  fc.uniqueArray(fc.record({ identity, weight }), {
    maxLength,
    selector: (member) => Buffer.from(member.identity).toString('hex'),
  });
const size = fc.constantFrom(2, 3, 5, 7, 11, 101, 251, 509, 1021);
const seed = fc.integer({ min: 0, max: 0xffffffff });

/** The owner of every slot by identity, so that lists in different order can be compared. */
const owners = (table: Uint16Array, members: readonly Member[]) =>
  Array.from(table, (index) => (index === EMPTY_SLOT ? '' : Buffer.from(members[index].identity).toString('hex')));

test('equals the reference twin for any size, members, weights and seed', () => {
  fc.assert(
    fc.property(memberList(40), size, seed, (members, size, seed) => {
      assert.deepEqual(Array.from(buildTable(members, size, seed)), referenceTable(members, size, seed));
    }),
    { numRuns: 300 },
  );
});

test('equals the reference twin at 65,537 slots', () => {
  const members = numbered(300, (i) => 1 + ((i * 7919) % 50));
  assert.deepEqual(Array.from(buildTable(members, 65537, 42)), referenceTable(members, 65537, 42));
});

test('the identity hash equals its twin', () => {
  const lanes = new Int32Array(4);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), seed, (bytes, seed) => {
      hashIdentity(bytes, seed, lanes, 2);
      assert.deepEqual([BigInt(lanes[2] >>> 0), BigInt(lanes[3] >>> 0)], referenceIdentityHash(bytes, seed));
    }),
  );
});

test('the order of the members changes nothing', () => {
  const reordered = memberList(40).chain((members) =>
    fc.record({
      members: fc.constant(members),
      shuffled: fc.shuffledSubarray(members, { minLength: members.length, maxLength: members.length }),
    }),
  );
  fc.assert(
    fc.property(reordered, size, seed, ({ members, shuffled }, size, seed) => {
      const a = buildTable(members, size, seed);
      const b = buildTable(shuffled, size, seed);
      assert.deepEqual(owners(a, members), owners(b, shuffled));
      assert.equal(digestTable(a, members), digestTable(b, shuffled));
    }),
  );
});

test('members of weight 0 change nothing', () => {
  fc.assert(
    fc.property(memberList(30), size, seed, (members, size, seed) => {
      const active = members.filter((member) => member.weight > 0);
      assert.deepEqual(owners(buildTable(members, size, seed), members), owners(buildTable(active, size, seed), active));
    }),
  );
});

test('weights are ratios: all multiplied by one number give the same table', () => {
  fc.assert(
    fc.property(memberList(30), size, fc.integer({ min: 2, max: 900 }), (members, size, factor) => {
      const small = members.map((member) => ({ ...member, weight: member.weight % 70 }));
      const large = small.map((member) => ({ ...member, weight: member.weight * factor }));
      assert.deepEqual(buildTable(large, size, 1), buildTable(small, size, 1));
    }),
  );
});

test('shares are proportional to weights, rounded to the nearest by one common divisor', () => {
  fc.assert(
    fc.property(memberList(40), fc.constantFrom(251, 1021, 4093), seed, (members, size, seed) => {
      const { counts, empty } = tableShares(buildTable(members, size, seed), members.length);
      const active = members.map((member, i) => ({ weight: member.weight, slots: counts[i] })).filter(({ weight }) => weight > 0);
      assert.equal(empty, active.length === 0 ? size : 0);
      // Webster's condition: some divisor rounds every weight to its slots.
      const least = Math.max(...active.map(({ weight, slots }) => (slots - 0.5) / weight));
      const most = Math.min(...active.map(({ weight, slots }) => (slots + 0.5) / weight));
      assert.ok(active.length === 0 || least <= most, `${least} > ${most}`);
    }),
  );
});

test('large and small weights: 1 : 65,535 and 3 : 2 : 1 at 65,537 slots', () => {
  const pair = numbered(2, (i) => (i === 0 ? 65535 : 1));
  assert.deepEqual(Array.from(tableShares(buildTable(pair, 65537, 9), 2).counts), [65536, 1]);
  const three = numbered(3, (i) => 3 - i);
  assert.deepEqual(Array.from(tableShares(buildTable(three, 65537, 9), 3).counts), [32768, 21846, 10923]);
});

test('every slot is filled, and equal weights differ by one slot at most: within 1 % of each other from 100 slots each', () => {
  for (const count of [1, 2, 7, 100, 400, 655]) {
    const shares = tableShares(
      buildTable(
        numbered(count, () => 37),
        65537,
        5,
      ),
      count,
    );
    assert.equal(shares.empty, 0);
    assert.ok(shares.max - shares.min <= 1);
    assert.ok((shares.max - shares.min) / shares.mean <= 0.01, `${count} members`);
  }
  const thousand = tableShares(buildTable(numbered(1000), 65537, 5), 1000);
  assert.ok(thousand.maxOverMean <= 1.0072, String(thousand.maxOverMean));
});

test('removing one of 1,000 moves its own share and at most 0.65 % of the others', () => {
  const members = numbered(1000);
  const before = buildTable(members, 65537, 0);
  let collateral = 0;
  for (const removed of [0, 123, 500, 777, 999]) {
    const rest = members.filter((_, i) => i !== removed);
    const change = disruption(before, members, buildTable(rest, 65537, 0), rest);
    assert.ok(change.own === 65 || change.own === 66);
    assert.equal(change.gained, 0);
    assert.equal(change.moved, change.own + change.collateral);
    assert.ok(change.collateral / change.slots <= 0.0065, String(change.collateral));
    collateral += change.collateral / change.slots / 5;
  }
  assert.ok(collateral <= 0.006, String(collateral));
});

test('removing or doubling the heaviest member leaves most other claims alone', () => {
  const members = numbered(100, (i) => (i === 0 ? 100 : 1 + (i % 10)));
  const before = buildTable(members, 65537, 3);
  const rest = members.slice(1);
  const removed = disruption(before, members, buildTable(rest, 65537, 3), rest);
  assert.ok(removed.collateral / removed.slots < 0.09, `${removed.collateral} collateral after ${removed.own} own`);
  const doubled = members.map((member, i) => (i === 0 ? { ...member, weight: 200 } : member));
  const raised = disruption(before, members, buildTable(doubled, 65537, 3), doubled);
  assert.ok(raised.moved < 2 * raised.least, `${raised.moved} moved, ${raised.least} had to`);
});

test('more members than slots: one each for as many as there are slots', () => {
  const shares = tableShares(buildTable(numbered(300), 251, 1), 300);
  assert.deepEqual([shares.min, shares.max, shares.empty], [0, 1, 0]);
});

test('65,534 members and 655,373 slots', () => {
  const members = Array.from({ length: 65534 }, (_, i) => ({
    identity: Uint8Array.of(10, 9, i >> 8, i & 0xff),
    weight: 1 + (i & 1),
  }));
  const shares = tableShares(buildTable(members, 655373, 1), members.length);
  // 7 and 13 each are 33 slots short of the table: 33 of the heavier members hold 14.
  assert.deepEqual([shares.empty, shares.min, shares.p75, shares.max], [0, 7, 13, 14]);
});

test('nobody with weight: every slot is empty', () => {
  for (const members of [[], numbered(5, () => 0)]) {
    assert.ok(buildTable(members, 101, 1).every((slot) => slot === EMPTY_SLOT));
  }
});

test('different seeds give unrelated tables', () => {
  const members = numbered(50);
  const change = disruption(buildTable(members, 65537, 1), members, buildTable(members, 65537, 2), members);
  assert.ok(Math.abs(change.movedRatio - 49 / 50) < 0.01, String(change.movedRatio));
});

test('refuses what can not be a table, and says what could', () => {
  assert.throws(() => buildTable([], 65536, 0), { name: 'RangeError', message: /65536 is not; the next prime is 65537/ });
  for (const size of [0, 1, -7, 2.5, Number.NaN, 1048583]) assert.throws(() => checkTableSize(size), /a prime from 2 to 1048573/);
  const [a, b] = numbered(2);
  assert.throws(() => buildTable([a, b, { ...a, weight: 0 }], 101, 0), {
    name: 'RangeError',
    message: /members 0 and 2 have the same identity/,
  });
  for (const weight of [-1, 65536, 1.5, Number.NaN]) {
    assert.throws(() => buildTable([a, { ...b, weight }], 101, 0), /member 1 has weight .*integer from 0 to 65535/);
  }
  const many = Array.from({ length: 65535 }, () => a);
  assert.throws(() => buildTable(many, 101, 0), /at most 65534 members/);
});
