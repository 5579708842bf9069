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
