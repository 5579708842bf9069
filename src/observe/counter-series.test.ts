import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BACKENDS_AT, createBank, DROPS_AT, MAX_BACKENDS, SERVICES_AT } from '../base/counters.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import { type CountedNames, CounterSeries } from './counter-series.ts';

const NO_BACKEND = DROP_REASONS.findIndex(({ word }) => word === 'no-backend');

function namesOf(services: Record<string, number>, backends: Record<string, number>): CountedNames {
  return {
    services: Object.entries(services).map(([name, id]) => ({ name, id })),
    backends: Object.entries(backends).map(([name, id]) => ({ name, id, pool: 'p' })),
  };
}

/** What rose, by kind and name. */
function look(
  series: CounterSeries,
  banks: readonly Float64Array[],
  names: CountedNames,
  now: number,
  lost = 0,
): Record<string, number[]> {
  const risen: Record<string, number[]> = {};
  series.look(banks, names, lost, now, (number, packets, bytes) => {
    const found = series.at(number);
    assert.ok(found !== null);
    const key = `${found.kind} ${found.name}`;
    assert.equal(risen[key], undefined, `${key} rose twice`);
    risen[key] = [packets, bytes];
  });
  return risen;
}

function count(bank: Float64Array, at: number, packets: number, bytes = 0): void {
  bank[at] += packets;
  bank[at + 1] += bytes;
}

test('each counter that rose, by how much, summed over threads; nothing for the others', () => {
  const banks = [createBank(), createBank()];
  const series = new CounterSeries(0);
  const names = namesOf({ web: 0, dns: 1 }, { a: 3, b: 4 });
  assert.deepEqual(look(series, banks, names, 1000), {});
  count(banks[0], SERVICES_AT, 5, 500);
  count(banks[1], SERVICES_AT, 2, 200);
  count(banks[1], BACKENDS_AT + 2 * 4, 7, 700);
  banks[0][DROPS_AT + NO_BACKEND] += 3;
  assert.deepEqual(look(series, banks, names, 2000, 9), {
    'total lost in the kernel': [9, 0],
    'drop no-backend': [3, 0],
    'service web': [7, 700],
    'backend p/b': [7, 700],
  });
  assert.deepEqual(look(series, banks, names, 3000, 9), {});
});

test('who is new counts from its first packet, who is gone to its last, and an id is whose it was at the time', () => {
  const bank = createBank();
  const series = new CounterSeries(0);
  const at = BACKENDS_AT + 2 * 3;
  look(series, [bank], namesOf({}, {}), 1000);
  count(bank, at, 4, 40);
  const first = namesOf({}, { old: 3 });
  assert.deepEqual(look(series, [bank], first, 2000), { 'backend p/old': [4, 40] });
  count(bank, at, 1, 10);
  assert.deepEqual(look(series, [bank], namesOf({}, {}), 3000), { 'backend p/old': [1, 10] });
  // A thread that had the old tables for a moment more.
  count(bank, at, 2, 20);
  assert.deepEqual(look(series, [bank], namesOf({}, {}), 4000), { 'backend p/old': [2, 20] });
  count(bank, at, 6, 60);
  assert.deepEqual(look(series, [bank], namesOf({}, { fresh: 3 }), 9000), { 'backend p/fresh': [6, 60] });
  const nameOf = series.namer();
  assert.deepEqual(
    [2500, 9500, 5000].map((time) => nameOf('backend', 3, time)),
    ['p/old', 'p/fresh', 'p/fresh'],
  );
  assert.equal(nameOf('backend', -1, 2500), null);
  assert.equal(nameOf('service', 3, 2500), null);
});

test('an id that changes its name at once: each packet counts once', () => {
  const bank = createBank();
  const series = new CounterSeries(0);
  look(series, [bank], namesOf({ one: 0 }, {}), 1000);
  count(bank, SERVICES_AT, 1, 1);
  assert.deepEqual(look(series, [bank], namesOf({ two: 0 }, {}), 2000), { 'service one': [1, 1] });
  count(bank, SERVICES_AT, 5, 5);
  assert.deepEqual(look(series, [bank], namesOf({ two: 0 }, {}), 3000), { 'service two': [5, 5] });
});

test('what a bank holds when it comes was counted before: a takeover is no peak', () => {
  const bank = createBank();
  const series = new CounterSeries(0);
  const names = namesOf({ web: 0 }, {});
  look(series, [bank], names, 1000);
  const carried = createBank();
  count(carried, SERVICES_AT, 1e9, 1e12);
  count(carried, BACKENDS_AT + 2 * 7, 1e6, 1e6);
  count(bank, SERVICES_AT, 3, 30);
  assert.deepEqual(look(series, [bank, carried], names, 2000, 5000), { 'service web': [3, 30] });
  count(bank, BACKENDS_AT + 2 * 7, 2, 20);
  assert.deepEqual(look(series, [bank, carried], namesOf({ web: 0 }, { late: 7 }), 3000, 5001), {
    'backend p/late': [2, 20],
    'total lost in the kernel': [1, 0],
  });
});

test('series that are gone are forgotten with the last second that has them, and their numbers given again', () => {
  const bank = createBank();
  const series = new CounterSeries(0);
  look(series, [bank], namesOf({}, { a: 1 }), 1000);
  const before = series.all().length;
  look(series, [bank], namesOf({}, { b: 2 }), 2000);
  assert.equal(series.all().length, before + 1);
  series.forget(2000);
  assert.ok(
    series.all().some(({ name }) => name === 'p/a'),
    'its last second is held',
  );
  series.forget(2001);
  assert.ok(!series.all().some(({ name }) => name === 'p/a'));
  for (let k = 0; k < 1000; k++) {
    look(series, [bank], namesOf({}, { [`b${k}`]: 3 + k }), 3000 + k);
    series.forget(3000 + k);
  }
  assert.ok(series.all().length <= before + 2, `${series.all().length} series`);
});

test('ids that share the last cell are nobody’s', () => {
  const bank = createBank();
  const series = new CounterSeries(0);
  look(series, [bank], namesOf({}, { far: MAX_BACKENDS - 1 }), 1000);
  assert.ok(!series.all().some(({ name }) => name === 'p/far'));
});
