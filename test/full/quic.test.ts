import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { quic } from './quic.ts';

test(`scaled: ${quic.claim}`, needs('root', 'namespaces', 'tun', 'python3', 'cc', 'ngtcp2'), async () => {
  const { passed, figures } = await quic.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
