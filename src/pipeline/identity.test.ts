import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdentityRegistry } from './identity.ts';

test('ids are stable, and reused only an hour after their holder has gone, with a new since', () => {
  const registry = new IdentityRegistry(2, 'backends');
  registry.begin(0);
  assert.deepEqual({ ...registry.claim('a', 10), gone: undefined }, { id: 0, since: 10, gone: undefined });
  registry.claim('b', 10);
  registry.begin(100);
  registry.claim('b', 100);
  assert.throws(() => registry.claim('c', 100), { code: 'GD_SNAPSHOT_IDS' });
  registry.begin(3700);
  registry.claim('b', 3700);
  const c = registry.claim('c', 3700);
  assert.equal(c.id, 0);
  assert.equal(c.since, 3700);
  assert.throws(() => registry.claim('a', 3700), /more than 2 backends/);
});
