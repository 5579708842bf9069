import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { traceLine } from './trace.ts';

test(`scaled: ${traceLine.claim}`, needs('root', 'namespaces', 'tun', 'tcpdump', 'tshark', 'ethtool'), async () => {
  const { passed, figures } = await traceLine.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
