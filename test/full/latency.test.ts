import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { latencyLine } from './latency.ts';

test(
  'scaled: how long packets take through the director and through its floor in C',
  needs('root', 'namespaces', 'tun', 'cc'),
  async () => {
    const { passed, figures } = await latencyLine.run('scaled');
    assert.ok(passed, JSON.stringify(figures, null, 2));
  },
);
