import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainLine } from './explain.ts';

test(`scaled: ${explainLine.claim}`, async () => {
  const { passed, figures } = await explainLine.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
