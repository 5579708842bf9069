import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pauses } from './pauses.ts';

test(`scaled: ${pauses.claim}`, async () => {
  const { passed, figures } = await pauses.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
