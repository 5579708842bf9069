import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { drain } from './drain.ts';

test(`scaled: ${drain.claim}`, needs('root', 'namespaces', 'tun', 'python3'), async () => {
  const { passed, figures } = await drain.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
