import assert from 'node:assert/strict';
import { test } from 'node:test';
import { twoThreads } from './two-threads.ts';

test(`scaled: ${twoThreads.claim}`, async () => {
  const { passed, figures } = await twoThreads.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
