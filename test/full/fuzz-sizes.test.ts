import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzSizes } from './fuzz-sizes.ts';

test(`scaled: ${fuzzSizes.claim}`, async () => {
  const { passed, figures } = await fuzzSizes.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
