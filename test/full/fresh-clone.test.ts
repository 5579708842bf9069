import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { freshClone } from './fresh-clone.ts';

test('scaled: a fresh clone runs the demo', needs('root', 'namespaces', 'tun'), async () => {
  const { passed, figures } = await freshClone.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
