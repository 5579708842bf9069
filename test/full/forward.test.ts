import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { forwardLine } from './forward.ts';

test('scaled: packets through the director and through its floor in C', needs('root', 'namespaces', 'tun', 'cc'), async () => {
  const { passed, figures } = await forwardLine.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
