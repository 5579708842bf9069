import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdentityRegistry } from './identity.ts';

function build(registry: IdentityRegistry, now: number, ...identities: string[]): number[] {
  registry.begin();
  const ids = identities.map((identity) => registry.claim(identity, now).id);
  registry.commit(now);
  return ids;
}

test('ids are stable, and reused only an hour after their holder has gone, with a new since', () => {
  const registry = new IdentityRegistry(2, 'backends');
  assert.deepEqual(build(registry, 10, 'a', 'b'), [0, 1]);
  assert.deepEqual(build(registry, 100, 'b'), [1]);
  assert.throws(() => build(registry, 3699, 'b', 'c'), { code: 'GD_SNAPSHOT_IDS' });
  assert.deepEqual(build(registry, 3700, 'b', 'c'), [1, 0]);
  registry.begin();
  assert.deepEqual(registry.claim('c', 4000), { id: 0, since: 3700 });
  assert.throws(() => build(registry, 4000, 'b', 'c', 'a'), /more than 2 backends/);
});

test('a build that failed has changed nothing', () => {
  const registry = new IdentityRegistry(3, 'backends');
  assert.deepEqual(build(registry, 10, 'a', 'b'), [0, 1]);
  registry.begin();
  registry.claim('x', 20);
  // No commit: x had no id, and a and b were never gone.
  assert.deepEqual(build(registry, 5000, 'a', 'b', 'y'), [0, 1, 2]);
  assert.throws(() => build(registry, 5000, 'a', 'b', 'y', 'z'), { code: 'GD_SNAPSHOT_IDS' });
});

test('a registry that was restored goes on where the other was: ids, when they were given, who is gone', () => {
  const first = new IdentityRegistry(4, 'backends');
  first.begin();
  for (const name of ['a', 'b', 'c']) first.claim(name, 10);
  first.commit(10);
  assert.equal(first.changes, 1);
  first.begin();
  for (const name of ['a', 'c']) first.claim(name, 20);
  first.commit(20);
  assert.equal(first.changes, 1, 'nobody new: nothing that is written down would be wrong');
  const saved = JSON.parse(JSON.stringify(first.save()));
  const second = new IdentityRegistry(4, 'backends');
  second.restore(saved);
  assert.deepEqual(second.save(), first.save());
  second.begin();
  assert.deepEqual(second.claim('c', 30), { id: 2, since: 10 });
  assert.deepEqual(second.claim('d', 30), { id: 3, since: 30 });
  assert.throws(() => second.claim('e', 20 + 3599), /more than 4 backends/);
  assert.deepEqual(second.claim('e', 20 + 3600), { id: 1, since: 3620 });
  second.commit(3620);
  assert.equal(second.changes, 1);
});

test('identities that contradict themselves are refused', () => {
  const wrong = [
    { next: 5, holders: [] },
    { next: 1, holders: [['a', 1, 0, null]] },
    {
      next: 2,
      holders: [
        ['a', 0, 0, null],
        ['b', 0, 0, null],
      ],
    },
    { next: 1, holders: [['a', 0, -1, null]] },
    { next: 0.5, holders: [] },
  ] as const;
  for (const saved of wrong) assert.throws(() => new IdentityRegistry(4, 'backends').restore(saved), RangeError);
});
