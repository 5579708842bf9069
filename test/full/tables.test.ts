import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tables } from './tables.ts';

test(`scaled: ${tables.claim}`, async () => {
  const { passed, figures } = await tables.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
