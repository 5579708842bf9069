import assert from 'node:assert/strict';
import { test } from 'node:test';
import { historyLine } from './history.ts';

test(`scaled: ${historyLine.claim}`, async () => {
  const { passed, figures } = await historyLine.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
