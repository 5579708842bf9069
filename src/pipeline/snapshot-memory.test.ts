import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { SnapshotBuilder, type SnapshotParts } from './snapshot.ts';
import type { PoolSpec, Spec } from './spec.ts';

const TUNNEL = {
  encapsulation: 'gue',
  port: 6080,
  source4: Uint8Array.of(10, 9, 0, 1),
  source6: null,
  checksum: 'auto',
} as const;

const ADDRESSES = { 10: [10, 0], 20: [10, 1] } as const;

function pool(name: string, place: keyof typeof ADDRESSES, members: readonly number[]): PoolSpec {
  const backends = members.map((n) => ({
    name: `w${n}`,
    address: Uint8Array.of(...ADDRESSES[place], 0, n),
    weight: 1,
    state: 'active' as const,
  }));
  return { name, tableSize: 31, seed: 1, tunnel: TUNNEL, backends };
}

const bytesOf = ({ root, tables }: SnapshotParts) => Buffer.concat([root, ...tables].map((memory) => new Uint8Array(memory)));
const members = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 });

/** Who reads which: builds with what each pool has, and which of the snapshots still read is read no more afterwards. */
const turns = fc.array(fc.record({ a: members, b: members, leaves: fc.integer({ min: 0, max: 9 }) }), {
  minLength: 4,
  maxLength: 24,
});

test('memory of snapshots is used again, and never while somebody reads it', () => {
  let again = 0;
  fc.assert(
    fc.property(turns, (all) => {
      const builder = new SnapshotBuilder();
      const everSeen = new Set<SharedArrayBuffer>();
      const read: { parts: SnapshotParts; bytes: Buffer }[] = [];
      let pools: PoolSpec[] = [];
      all.forEach(({ a, b, leaves }, turn) => {
        // A pool that stays the object that it is keeps its table over any number of snapshots.
        const same = turn > 0 && turn % 3 === 0;
        pools = [same ? pools[0] : pool('a', 10, a), pool('b', 20, b)];
        const spec: Spec = { services: [], pools };
        const before = new Set(read.flatMap(({ parts }) => [parts.root, ...parts.tables]));
        const parts = builder.build(spec, turn * 1000);
        for (const memory of [parts.root, ...parts.tables]) {
          if (everSeen.has(memory) && !before.has(memory)) again++;
          everSeen.add(memory);
        }
        read.push({ parts, bytes: bytesOf(parts) });
        for (const one of read) assert.deepEqual(bytesOf(one.parts), one.bytes);
        // The newest is always read.
        if (leaves < read.length - 1) builder.release(read.splice(leaves, 1)[0].parts);
      });
    }),
  );
  assert.ok(again > 0, 'nothing was used again');
});
