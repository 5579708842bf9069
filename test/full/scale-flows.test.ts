import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { scaleFlows } from './scale-flows.ts';

test(`scaled: ${scaleFlows.claim}`, needs('root', 'namespaces'), async () => {
  const { passed, figures } = await scaleFlows.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
