import assert from 'node:assert/strict';
import { test } from 'node:test';
import { prefixContains } from '../base/address.ts';
import { createBank, SERVICES_AT } from '../base/counters.ts';
import { createDropNotes } from '../base/drop-notes.ts';
import type { HistoryAnswer } from '../observe/history.ts';
import type { SnapshotParts } from '../pipeline/snapshot.ts';
import { HistoryKeeper } from './history-keeper.ts';
import { historyQuestion } from './history-question.ts';

const NAMES = {
  services: new Map<string, string | null>([
    ['web', 'workers'],
    ['old', null],
  ]),
  backends: ['workers/w1'],
};
const NOW = Date.UTC(2026, 10, 23, 14, 30);
const question = (query: string) => historyQuestion(new URLSearchParams(query), NAMES, NOW);

test('windows: from a time on, or the last so many seconds', () => {
  const span = (query: string) => {
    const { from, to } = question(query);
    return [new Date(from).toISOString(), new Date(to).toISOString()];
  };
  assert.deepEqual(span(''), ['2026-11-23T14:20:00.000Z', '2026-11-23T14:30:00.000Z']);
  assert.deepEqual(span('last=90'), ['2026-11-23T14:28:30.000Z', '2026-11-23T14:30:00.000Z']);
  assert.deepEqual(span('at=2026-11-23T14:02:00Z'), ['2026-11-23T14:02:00.000Z', '2026-11-23T14:03:00.000Z']);
  assert.deepEqual(span('at=2026-11-23T14:02:00Z&window=5'), ['2026-11-23T14:02:00.000Z', '2026-11-23T14:02:05.000Z']);
});

test('clients: an address or a prefix of either family', () => {
  const is = (client: string, ...address: number[]) => {
    const { clientPrefix } = question(`client=${client}`);
    return clientPrefix !== null && prefixContains(clientPrefix, Uint8Array.from(address));
  };
  assert.deepEqual([is('192.0.2.7', 192, 0, 2, 7), is('192.0.2.7', 192, 0, 2, 8)], [true, false]);
  assert.deepEqual([is('192.0.2.9/24', 192, 0, 2, 200), is('192.0.2.9/24', 192, 0, 3, 9)], [true, false]);
  assert.equal(is('2001:db8::/32', 0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 9), true);
  assert.equal(is('0.0.0.0/0', ...new Array(16).fill(0)), false);
});

test('a service or a backend brings its pool; a service that is gone has none', () => {
  assert.equal(question('service=web').pool, 'workers');
  assert.equal(question('service=old').pool, null);
  assert.equal(question('backend=workers/w1').pool, 'workers');
});

test('questions that can not be read are refused with what there is', () => {
  for (const [query, message, hint] of [
    ['since=5', /unknown parameter "since"/, /at, last, window/],
    ['at=25:00', /"25:00" is no time/, /14:02/],
    ['at=14:02&last=5', /one of them/, /at=14:02/],
    ['window=5', /without "at"/, /at=14:02/],
    ['last=0', /from 1 to/, /last=600/],
    ['last=10m', /not "10m"/, /last=600/],
    ['client=worker', /not an IPv4 or IPv6 address/, /192\.0\.2\.7/],
    ['client=192.0.2.0/33', /no prefix/, /192\.0\.2\.0\/24/],
    ['service=wbe', /no service "wbe"/, /services: web, old/],
    ['backend=w1', /no backend "w1"/, /backends: workers\/w1/],
    ['reason=nope', /"nope" is no drop reason/, /no-backend/],
  ] as const) {
    assert.throws(() => question(query), { code: 'GD_HISTORY_QUESTION', exitCode: 2, message, hint }, query);
  }
});

test('counters of each second of the clock, whatever the time of day does; a question that can not be read is 400', () => {
  const bank = createBank();
  // Counted before: by a process that was taken over from, say.
  bank[SERVICES_AT] = 1000;
  let milliseconds = 5_000_000;
  const keeper = new HistoryKeeper({
    milliseconds: () => milliseconds,
    events: () => [],
    publisher: {
      current: { names: { services: [{ id: 0, name: 'web', pool: 'p' }], pools: [], backends: [] } } as unknown as SnapshotParts,
    },
    threads: { banks: [bank], seats: [{ dropNotes: createDropNotes() }], kernelDrops: () => [] },
  });
  const begin = Date.now() - 60_000;
  for (let s = 1; s <= 20; s++) {
    milliseconds += 1000;
    bank[SERVICES_AT] += s;
    keeper.look(begin + s * 1000);
  }
  const told = keeper.answer(new URLSearchParams('last=120&service=web'), true);
  assert.equal(told.status, 200);
  const { services, counters, notes } = told.body as HistoryAnswer;
  assert.deepEqual(
    services.map(({ name, packets, peak }) => [name, packets, peak]),
    [['web', 210, 20]],
  );
  assert.deepEqual([counters.seconds, notes], [20, []]);
  const remote = keeper.answer(new URLSearchParams('last=120'), false);
  assert.equal((remote.body as HistoryAnswer).notes, null);
  assert.equal(keeper.answer(new URLSearchParams('service=dns'), true).status, 400);
});
