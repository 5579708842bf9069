// Runs alone (test/run.ts): it measures what the machine gives it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { takeover } from './takeover.ts';

test(`scaled: ${takeover.claim}`, needs('root', 'namespaces', 'tun', 'nft', 'python3'), async () => {
  const { passed, figures } = await takeover.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
