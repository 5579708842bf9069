import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { decode } from './decoders.ts';

test('scaled: a reference decoder accepts every packet, inner bytes unchanged but for TTL and completed checksum', async () => {
  const { passed, figures } = await decode('scaled', false);
  assert.ok(passed, JSON.stringify(figures, null, 2));
});

test('scaled: tshark accepts the packets', needs('tshark'), async () => {
  const { passed, figures } = await decode('scaled', true);
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
