import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pipelineCost } from './pipeline-cost.ts';

test(`scaled: ${pipelineCost.claim}`, async () => {
  const { passed, figures } = await pipelineCost.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
