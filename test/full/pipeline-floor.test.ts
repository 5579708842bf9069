import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { pipelineFloor } from './pipeline-floor.ts';

test(`scaled: ${pipelineFloor.claim}`, needs('cc'), async () => {
  const { passed, figures } = await pipelineFloor.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
