// Runs alone (test/run.ts): it measures what the machine gives it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { incident } from './incident.ts';

test('scaled: the incident replayed', needs('root', 'namespaces', 'tun'), async () => {
  const { passed, figures } = await incident.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
