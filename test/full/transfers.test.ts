// Runs alone (test/run.ts): it measures what the machine gives it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { transfers } from './transfers.ts';

test(`scaled: ${transfers.claim}`, needs('root', 'namespaces', 'tun', 'uml', 'iperf3', 'ethtool'), async () => {
  const { passed, figures } = await transfers.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
