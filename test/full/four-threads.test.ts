import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { fourThreads } from './four-threads.ts';

test(`scaled: ${fourThreads.claim}`, needs('root', 'namespaces', 'tun', 'python3'), async () => {
  const { passed, figures } = await fourThreads.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
