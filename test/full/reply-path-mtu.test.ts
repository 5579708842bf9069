import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { replyPathMtu } from './reply-path-mtu.ts';

test(`scaled: ${replyPathMtu.claim}`, needs('root', 'namespaces', 'tun', 'ping'), async () => {
  const { passed, figures } = await replyPathMtu.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
