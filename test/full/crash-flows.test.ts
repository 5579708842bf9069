import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { crashFlows } from './crash-flows.ts';

test(`scaled: ${crashFlows.claim}`, needs('root', 'namespaces', 'tun', 'python3'), async () => {
  const { passed, figures } = await crashFlows.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
