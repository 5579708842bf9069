import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { configs } from './configs.ts';

test('scaled: wrong configurations through the command, which touches no network', needs('strace'), async () => {
  const { passed, figures } = await configs.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
