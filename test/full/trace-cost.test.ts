import assert from 'node:assert/strict';
import { test } from 'node:test';
import { traceCost } from './trace-cost.ts';

test(`scaled: ${traceCost.claim}`, async () => {
  const { passed, figures } = await traceCost.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
