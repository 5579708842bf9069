import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { latency } from './latency.ts';

test(`scaled: ${latency.claim}`, needs('root', 'namespaces', 'tun', 'cc'), async () => {
  const { passed, figures } = await latency.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
