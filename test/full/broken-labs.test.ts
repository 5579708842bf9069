import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { brokenLabs } from './broken-labs.ts';

test('scaled: broken labs, each named by one command', needs('root', 'namespaces', 'tun', 'nft', 'ethtool'), async () => {
  const { passed, figures } = await brokenLabs.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
