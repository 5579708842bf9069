import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from './fuzz.ts';

test(`scaled: ${fuzz.claim}`, async () => {
  const { passed, figures } = await fuzz.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
