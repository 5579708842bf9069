// Runs alone (test/run.ts): it measures what the machine gives it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { clients } from './clients.ts';

test(`scaled: ${clients.claim}`, needs('root', 'namespaces', 'tun', 'python3', 'iperf3'), async () => {
  const { passed, figures } = await clients.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
