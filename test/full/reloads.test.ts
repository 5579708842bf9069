// Runs alone (test/run.ts): late answers and retransmissions are compared with those of a run beside it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { reloads } from './reloads.ts';

test(`scaled: ${reloads.claim}`, needs('root', 'namespaces', 'tun', 'python3'), async () => {
  const { passed, figures } = await reloads.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
