import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { parseMoment } from './moment.ts';

const NOW = new Date(2026, 10, 23, 14, 10, 0).getTime();
const local = (...parts: [number, number, number, number, number, number?, number?]) => new Date(...parts).getTime();

test('times without a date are the last that have been', () => {
  assert.equal(parseMoment('14:02', NOW), local(2026, 10, 23, 14, 2));
  assert.equal(parseMoment('9:02:10', NOW), local(2026, 10, 23, 9, 2, 10));
  assert.equal(parseMoment('14:02:10.5', NOW), local(2026, 10, 23, 14, 2, 10, 500));
  assert.equal(parseMoment('14:10', NOW), NOW);
  assert.equal(parseMoment('14:11', NOW), local(2026, 10, 22, 14, 11), 'yesterday');
});

test('dates: in this time zone, in UTC, with an offset', () => {
  assert.equal(parseMoment('2026-11-23T14:02:10', NOW), local(2026, 10, 23, 14, 2, 10));
  assert.equal(parseMoment('2026-11-23 14:02', NOW), local(2026, 10, 23, 14, 2));
  assert.equal(parseMoment('2026-11-23T14:02:10Z', NOW), Date.UTC(2026, 10, 23, 14, 2, 10));
  assert.equal(parseMoment('2026-11-23T14:02:10.007+01:30', NOW), Date.UTC(2026, 10, 23, 12, 32, 10, 7));
  assert.equal(parseMoment('2024-02-29T00:00-05:00', NOW), Date.UTC(2024, 1, 29, 5));
});

test('what toISOString writes is read back', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4e12 }), (time) => {
      assert.equal(parseMoment(new Date(time).toISOString(), NOW), time);
    }),
  );
});

test('what is no time is refused', () => {
  for (const text of [
    '',
    '14',
    '24:00',
    '14:60',
    '14:02:60',
    '2026-02-29T10:00',
    '2026-13-01T10:00',
    '2026-11-23',
    'now',
    '14:02 ',
  ])
    assert.equal(parseMoment(text, NOW), null, text);
});
