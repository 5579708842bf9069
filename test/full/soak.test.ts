// Runs alone (test/run.ts): memory and descriptors are compared over seconds.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { soak } from './soak.ts';

test(`scaled: ${soak.claim}`, needs('root', 'namespaces', 'tun', 'nft', 'python3'), async () => {
  const { passed, figures } = await soak.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
