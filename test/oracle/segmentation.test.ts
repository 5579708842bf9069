import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { segmentation } from './segmentation.ts';

test(`scaled: ${segmentation.claim}`, needs('root', 'namespaces', 'tun'), async () => {
  const { passed, figures } = await segmentation.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
