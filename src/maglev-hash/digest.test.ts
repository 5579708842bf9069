import assert from 'node:assert/strict';
import { test } from 'node:test';
import { referenceDigest } from '../../test/reference/maglev.ts';
import { digestTable } from './digest.ts';
import type { Member } from './permutation.ts';
import { buildTable } from './table.ts';

const v4: Member[] = Array.from({ length: 100 }, (_, i) => ({ identity: Uint8Array.of(198, 51, 100, i), weight: 1 }));
const v6: Member[] = [1, 2, 3].map((i) => ({
  identity: Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, i),
  weight: i,
}));

/**
 * A release must not change these: it would move flows of every user. If one of them fails, the change is wrong, not the
 * vector.
 */
test('golden digests and first slots', () => {
  const golden: [Member[], number, number, string, number[]][] = [
    [v4, 65537, 0, 'd07cba631c86870b', [4, 18, 30, 32, 93, 58, 85, 54, 11, 47, 1]],
    [v4, 65537, 1, '8318fda139264b8b', [56, 61, 47, 13, 99, 1, 71, 88, 19, 94, 4]],
    [v6, 65537, 4294967295, 'b2f03b5f2fbf586a', [2, 1, 2, 0, 2, 0, 1, 2, 1, 2, 2]],
    [v6, 11, 0, 'f56676b0c4ff3d30', [0, 1, 2, 1, 2, 2, 1, 0, 1, 2, 2]],
    [v4.slice(0, 7), 655373, 12345, '5408a9a3a67ca8b2', [6, 0, 5, 6, 3, 6, 1, 2, 2, 3, 5]],
    [[], 7, 0, '6317feb930c6276e', [65535, 65535, 65535, 65535, 65535, 65535, 65535]],
  ];
  for (const [members, size, seed, digest, first] of golden) {
    const table = buildTable(members, size, seed);
    assert.deepEqual(Array.from(table.subarray(0, first.length)), first);
    assert.equal(digestTable(table, members), digest);
  }
});

test('equals the reference twin', () => {
  for (const members of [v4, v6, []]) {
    const table = buildTable(members, 509, 3);
    assert.equal(digestTable(table, members), referenceDigest(table, members));
  }
});

test('one moved slot, two exchanged slots or another size change it', () => {
  const table = buildTable(v6, 251, 7);
  const seen = new Set([digestTable(table, v6), digestTable(table.subarray(0, 250), v6)]);
  for (let slot = 0; slot < table.length; slot++) {
    const changed = table.slice();
    changed[slot] = (table[slot] + 1) % 3;
    seen.add(digestTable(changed, v6));
  }
  const exchanged = table.slice();
  const other = table.findIndex((owner) => owner !== table[0]);
  exchanged[0] = table[other];
  exchanged[other] = table[0];
  seen.add(digestTable(exchanged, v6));
  assert.equal(seen.size, 2 + 251 + 1);
});

test('a slot that names nobody is an error', () => {
  assert.throws(() => digestTable(Uint16Array.of(0, 3), v6), { name: 'RangeError', message: /slot 1 names member 3 of 3/ });
});
