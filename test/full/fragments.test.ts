import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { fragments } from './fragments.ts';

test(`scaled: ${fragments.claim}`, needs('root', 'namespaces', 'tun', 'python3'), async () => {
  const { passed, figures } = await fragments.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
