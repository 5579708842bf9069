import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as L from './layout.ts';
import { Snapshot, SnapshotBuilder, type SnapshotParts } from './snapshot.ts';
import type { BackendSpec, PoolSpec, Spec } from './spec.ts';

const SOURCE4 = Uint8Array.of(10, 0, 0, 254);
const SOURCE6 = Uint8Array.from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe]);

function backend(n: number, changes: Partial<BackendSpec> = {}): BackendSpec {
  return { name: `w${n}`, address: Uint8Array.of(10, 0, 0, n), weight: 1, state: 'active', ...changes };
}

function spec(backends: readonly BackendSpec[], changes: Partial<PoolSpec> = {}): Spec {
  const tunnel = { encapsulation: 'gue', port: 6080, source4: SOURCE4, source6: SOURCE6, checksum: 'auto' } as const;
  return {
    services: [
      {
        name: 'web',
        prefix: { bytes: Uint8Array.of(192, 0, 2, 1), length: 32 },
        protocol: 6,
        portFrom: 443,
        portTo: 443,
        affinity: '5-tuple',
        pool: 'p',
      },
    ],
    pools: [{ name: 'p', tableSize: 1009, seed: 7, tunnel, backends, ...changes }],
  };
}

const idsByName = (parts: SnapshotParts) => new Map(parts.names.backends.map((b) => [b.name, b.id]));

test('the order of the file changes nothing: same digest, same owner of every slot', () => {
  const forward = new SnapshotBuilder().build(spec([1, 2, 3, 4, 5].map((n) => backend(n))));
  const backward = new SnapshotBuilder().build(spec([5, 3, 4, 1, 2].map((n) => backend(n))));
  assert.equal(forward.names.pools[0].digest, backward.names.pools[0].digest);
  const owners = (parts: SnapshotParts) => {
    const { words, tables } = new Snapshot(parts);
    const names = new Map(parts.names.backends.map((b) => [b.id, b.name]));
    const members = words[words[L.H_POOLS] + L.P_MEMBERS];
    return [...tables[0]].map((number) => names.get(words[members + number]));
  };
  assert.deepEqual(owners(forward), owners(backward));
});

test('backends keep their ids; unchanged tables keep their buffer; a change keeps the old table as previous', () => {
  const builder = new SnapshotBuilder();
  const first = builder.build(spec([1, 2, 3].map((n) => backend(n))), 100);
  const same = builder.build(spec([3, 2, 1].map((n) => backend(n))), 200);
  assert.equal(same.generation, first.generation + 1);
  assert.deepEqual(idsByName(same), idsByName(first));
  assert.equal(same.tables[0], first.tables[0], 'the very same shared memory');

  const changed = builder.build(spec([2, 3, 4].map((n) => backend(n))), 300);
  assert.equal(idsByName(changed).get('w2'), idsByName(first).get('w2'));
  assert.notEqual(idsByName(changed).get('w4'), idsByName(first).get('w1'), 'an id is not given away while flows may name it');
  assert.equal(changed.tables.length, 2);
  const { words } = new Snapshot(changed);
  const pool = words[L.H_POOLS];
  assert.notEqual(words[pool + L.P_TABLE], words[pool + L.P_PREVIOUS_TABLE]);
  assert.equal(changed.tables[words[pool + L.P_PREVIOUS_TABLE]], first.tables[0]);
  assert.ok(words[pool + L.P_PREVIOUS_UNTIL] > 300);

  const back = builder.build(spec([1, 2, 3].map((n) => backend(n))), 400);
  assert.deepEqual(idsByName(back), idsByName(first), 'a backend that returns has its old id');
});

test('draining, down and weight 0 get no slot; draining still serves its flows', () => {
  const parts = new SnapshotBuilder().build(
    spec([backend(1), backend(2, { state: 'draining' }), backend(3, { state: 'down' }), backend(4, { weight: 0 })]),
  );
  assert.deepEqual(
    parts.names.backends.map((b) => [b.name, b.slots]),
    [
      ['w1', 1009],
      ['w2', 0],
      ['w3', 0],
      ['w4', 0],
    ],
  );
  const { words } = new Snapshot(parts);
  const state = (name: string) =>
    words[words[L.H_BACKENDS] + (idsByName(parts).get(name) as number) * L.BACKEND_WORDS + L.B_STATE];
  assert.equal(state('w2'), L.STATE_DRAINING);
  assert.equal(state('w3'), L.STATE_DOWN);
  assert.equal(state('w4'), L.STATE_SERVING);
});

test('a pool that can serve nobody has no table', () => {
  const { words } = new Snapshot(new SnapshotBuilder().build(spec([backend(1, { state: 'down' })])));
  assert.equal(words[words[L.H_POOLS] + L.P_TABLE], -1);
});

test('specs that contradict themselves are refused with a code', () => {
  const build = (s: Spec) => () => new SnapshotBuilder().build(s);
  assert.throws(build(spec([backend(1, { address: Uint8Array.of(192, 0, 2, 1) })])), { code: 'GD_SNAPSHOT_LOOP' });
  const tunnel = { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'auto' } as const;
  const spread = { ...tunnel, source4: Uint8Array.of(192, 0, 0, 0), spread4: 16 };
  assert.throws(build(spec([backend(1)], { tunnel: spread })), { code: 'GD_SNAPSHOT_LOOP' });
  assert.throws(build(spec([backend(1)], { tunnel })), { code: 'GD_SNAPSHOT_SOURCE' });
  assert.throws(build({ ...spec([backend(1)]), pools: [] }), { code: 'GD_SNAPSHOT_POOL' });
});

test('a snapshot of another layout is refused, not misread', () => {
  const parts = new SnapshotBuilder().build(spec([backend(1)]));
  new Int32Array(parts.root)[L.H_MAGIC] = 1;
  assert.throws(() => new Snapshot(parts), { code: 'GD_SNAPSHOT_LAYOUT' });
});

test('a refused spec changes nothing: same ids, same tables, same previous table afterwards', () => {
  const builder = new SnapshotBuilder();
  const good = spec([1, 2, 3].map((n) => backend(n)));
  const next = spec([1, 2, 3, 4].map((n) => backend(n)));
  builder.build(good, 100);
  const before = builder.build(next, 200);
  const loop = spec([backend(7), backend(8, { address: Uint8Array.of(192, 0, 2, 1) })]);
  assert.throws(() => builder.build(loop, 300), { code: 'GD_SNAPSHOT_LOOP' });
  assert.throws(() => builder.build({ ...loop, services: [], pools: [{ ...loop.pools[0], tableSize: 1000 }] }, 300), RangeError);
  const after = builder.build(next, 400);
  assert.equal(after.generation, before.generation + 1);
  assert.deepEqual(after.tables, before.tables);
  assert.deepEqual(idsByName(after), idsByName(before));
  const previous = (parts: SnapshotParts) => {
    const { words } = new Snapshot(parts);
    const pool = words[L.H_POOLS];
    return [parts.tables[words[pool + L.P_PREVIOUS_TABLE]], words[pool + L.P_PREVIOUS_UNTIL]];
  };
  assert.deepEqual(previous(after), previous(before));
  assert.equal(idsByName(builder.build(spec([9].map((n) => backend(n))), 500)).get('w9'), 4, 'no id was lost either');
});
