import assert from 'node:assert/strict';
import { test } from 'node:test';
import { H_MEMBERS, H_POOLS, P_MEMBERS, P_PREVIOUS_MEMBERS, P_PREVIOUS_TABLE, P_TABLE } from './layout.ts';
import { Snapshot, SnapshotBuilder, type SnapshotParts } from './snapshot.ts';
import type { BackendState, PoolSpec, Spec } from './spec.ts';

const SIZE = 251;

function spec(backends: readonly (readonly [string, BackendState])[], change: Partial<PoolSpec> = {}): Spec {
  return {
    services: [],
    pools: [
      {
        name: 'web',
        tableSize: SIZE,
        seed: 1,
        tunnel: { encapsulation: 'gue', port: 6080, source4: Uint8Array.of(198, 51, 100, 1), source6: null, checksum: 'auto' },
        backends: backends.map(([name, state]) => ({
          name,
          address: Uint8Array.of(198, 51, 100, name.charCodeAt(0)),
          weight: 1,
          state,
        })),
        ...change,
      },
    ],
  };
}

const three = [
  ['a', 'active'],
  ['b', 'active'],
  ['c', 'active'],
] as const;

function movedOf({ names }: SnapshotParts): number | null {
  return names.pools[0].moved;
}

/** The same, counted from the words that the packet path reads. */
function counted(parts: SnapshotParts): number {
  const { words, tables } = new Snapshot(parts);
  const at = words[H_POOLS];
  assert.ok(words[H_MEMBERS] > 0);
  let moved = 0;
  for (let slot = 0; slot < SIZE; slot++) {
    const now = words[words[at + P_MEMBERS] + tables[words[at + P_TABLE]][slot]];
    const before = words[words[at + P_PREVIOUS_MEMBERS] + tables[words[at + P_PREVIOUS_TABLE]][slot]];
    if (now !== before) moved++;
  }
  return moved / SIZE;
}

test('nothing is known before the first change, and a build that changes no table leaves what the last change moved', () => {
  const builder = new SnapshotBuilder();
  assert.equal(movedOf(builder.build(spec(three), 1)), null);
  assert.equal(movedOf(builder.build(spec(three), 2)), null);
  const drained = builder.build(spec([three[0], three[1], ['c', 'draining']]), 3);
  const share = movedOf(drained);
  assert.ok(share !== null && share > 0.2 && share < 0.5, String(share));
  assert.equal(share, counted(drained));
  assert.equal(movedOf(builder.build(spec([three[0], three[1], ['c', 'draining']]), 4)), share);
  const back = builder.build(spec(three), 5);
  assert.equal(movedOf(back), counted(back));
});

test('slots of another size or seed are no longer the same slots: all of them moved', () => {
  for (const change of [{ tableSize: 509 }, { seed: 2 }]) {
    const builder = new SnapshotBuilder();
    builder.build(spec(three), 1);
    assert.equal(movedOf(builder.build(spec(three, change), 2)), 1);
  }
});

test('ipvs-mh: a fallback that begins to search moves the slots of who takes none, not all', () => {
  const scheme = { name: 'ipvs-mh', port: false, fallback: true, serverPort: 80 } as const;
  const builder = new SnapshotBuilder();
  builder.build(spec([['a', 'down'], ['b', 'down'], three[2]], { scheme }), 1);
  const share = movedOf(builder.build(spec([['a', 'down'], three[1], three[2]], { scheme }), 2));
  assert.ok(share !== null && share > 0 && share < 1, String(share));
});

test('a pool that loses its last backend has moved every slot', () => {
  const builder = new SnapshotBuilder();
  builder.build(spec(three), 1);
  assert.equal(movedOf(builder.build(spec([]), 2)), 1);
});
