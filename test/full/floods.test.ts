import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { floods } from './floods.ts';

test(`scaled: ${floods.claim}`, needs('root', 'namespaces', 'tun', 'python3', 'nft'), async () => {
  const { passed, figures } = await floods.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
