import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { xdpKilled } from './xdp-killed.ts';

test(`scaled: ${xdpKilled.claim}`, needs('root', 'namespaces', 'xdp', 'ping'), async () => {
  const { passed, figures } = await xdpKilled.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
