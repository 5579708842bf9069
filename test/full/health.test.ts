import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { health } from './health.ts';

test(`scaled: ${health.claim}`, needs('root', 'namespaces', 'tun', 'uml'), async () => {
  const { passed, figures } = await health.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
