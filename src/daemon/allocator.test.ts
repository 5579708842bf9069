import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allocatorSettings, wantsAllocatorSettings } from './allocator.ts';

test('one arena is wanted where nobody has settled how many', () => {
  assert.deepEqual(allocatorSettings({}), { MALLOC_ARENA_MAX: '1' });
  assert.deepEqual(allocatorSettings({ GLIBC_TUNABLES: 'glibc.malloc.tcache_count=0' }), { MALLOC_ARENA_MAX: '1' });
  assert.ok(wantsAllocatorSettings({}));
});

test('what an operator has set stays', () => {
  for (const environment of [{ MALLOC_ARENA_MAX: '4' }, { GLIBC_TUNABLES: 'glibc.malloc.perturb=1:glibc.malloc.arena_max=2' }]) {
    assert.deepEqual(allocatorSettings(environment), {});
    assert.ok(!wantsAllocatorSettings(environment));
  }
});
