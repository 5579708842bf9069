// What the alerts and the dashboards' files have to be by themselves stands in test/observe.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { graphs } from './graphs.ts';

test('scaled: metrics without complaint, and an answer for every panel', needs('promtool'), async () => {
  const { passed, figures } = await graphs.run('scaled');
  assert.ok(passed, JSON.stringify(figures, null, 2));
});
