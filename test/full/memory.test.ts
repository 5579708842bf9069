// Runs alone (test/run.ts): it measures what the machine gives it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { memory } from './memory.ts';

test(`scaled: ${memory.claim}`, needs('root', 'namespaces', 'tun', 'iperf3'), async () => {
  const { passed, figures } = await memory.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
