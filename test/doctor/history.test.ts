// What the doctor reads of a director's history has the names that are written there.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOST_TOTAL, RECEIVED_TOTAL } from '../../src/doctor/running.ts';
import { CounterSeries } from '../../src/observe/counter-series.ts';

test('totals of the history', () => {
  const names = new CounterSeries(0).all().map(({ name }) => name);
  for (const name of [LOST_TOTAL, RECEIVED_TOTAL]) assert.ok(names.includes(name), `${name}: ${names.join(', ')}`);
});
