import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MICROSECONDS_WRAP } from '../base/clock.ts';
import type { IdleRule } from '../config/config.ts';
import { idlePacing } from './idle-pacing.ts';

/** A thread that looks every `step` microseconds: how often it slept, and when. */
function looks(idle: IdleRule, spin: number, step: number, empties: readonly number[]) {
  // The clock begins at 0 again within the first test of it.
  let time = MICROSECONDS_WRAP - 30;
  const slept: number[] = [];
  const pace = idlePacing({ idle, spin, wait: (timeout) => slept.push(timeout), now: () => time });
  const told = empties.map((empty) => {
    time = (time + step) % MICROSECONDS_WRAP;
    return pace(100, empty);
  });
  return { slept, told };
}

const row = (length: number) => Array.from({ length }, (_, i) => i);

test('wait: every look that finds nothing is a sleep', () => {
  assert.deepEqual(looks('wait', 50, 10, row(3)), { slept: [100, 100, 100], told: [true, true, true] });
});

test('spin: it looks on for as long as it was told after the last packet, then sleeps', () => {
  const { slept, told } = looks('spin', 50, 20, row(5));
  assert.deepEqual(told, [false, false, false, true, true]);
  assert.deepEqual(slept, [100, 100]);
  // Packets came: it begins anew.
  assert.deepEqual(looks('spin', 50, 20, [0, 1, 0, 1, 2]).told, [false, false, false, false, false]);
});

test('busy: it never sleeps, and looks at its descriptors now and then', () => {
  const { slept, told } = looks('busy', 50, 1, row(10_000));
  assert.ok(told.every((one) => !one));
  assert.deepEqual(slept, [0, 0]);
});

test('a source that has delivered everything is not spun for', () => {
  for (const idle of ['spin', 'busy'] as const) assert.deepEqual(looks(idle, 50, 1, [-1]), { slept: [100], told: [true] });
});
