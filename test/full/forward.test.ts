import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { forward } from './forward.ts';

test(`scaled: ${forward.claim}`, needs('root', 'namespaces', 'tun', 'cc'), async () => {
  const { passed, figures } = await forward.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
