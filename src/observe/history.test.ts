import assert from 'node:assert/strict';
import { test } from 'node:test';
import { writeDropNotes } from '../../test/reference/drop-notes.ts';
import { BACKENDS_AT, createBank, DROPS_AT, SERVICES_AT } from '../base/counters.ts';
import { createDropNotes, type DropNote, NOTES_KEPT } from '../base/drop-notes.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';
import { searchDropNotes } from '../base/note-search.ts';
import { CounterSeries } from './counter-series.ts';
import { EventJournal } from './events.ts';
import { type HistoryQuestion, type HistorySources, historyAnswer } from './history.ts';
import { createLog } from './log.ts';
import { SecondRing } from './second-ring.ts';

/** 2026-11-23T14:00:00Z */
const T = Date.UTC(2026, 10, 23, 14);
const NAMES = {
  services: [
    { id: 0, name: 'web' },
    { id: 1, name: 'dns' },
  ],
  backends: [
    { id: 3, pool: 'p', name: 'a' },
    { id: 4, pool: 'q', name: 'b' },
  ],
};
const NO_BACKEND = DROP_REASONS.findIndex(({ word }) => word === 'no-backend');
const CLIENT = Uint8Array.of(192, 0, 2, 7);
const OTHER = Uint8Array.of(192, 0, 2, 8);
const VIP = Uint8Array.of(198, 51, 100, 1);

/** Ten seconds from T on: in second s, web gets s packets, backend p/a too, and in the fifth 50 are dropped. */
function recorded(): { ring: SecondRing; series: CounterSeries } {
  const ring = new SecondRing(100, 1000);
  const series = new CounterSeries(T);
  const bank = createBank();
  for (let s = 0; s < 10; s++) {
    bank[SERVICES_AT] += s;
    bank[SERVICES_AT + 1] += 100 * s;
    bank[BACKENDS_AT + 6] += s;
    if (s === 5) bank[DROPS_AT + NO_BACKEND] += 50;
    const end = T + (s + 1) * 1000;
    ring.begin(end, 1000);
    series.look([bank], NAMES, 0, end, (number, packets, bytes) => ring.add(number, packets, bytes));
  }
  return { ring, series };
}

function note(second: number, source: Uint8Array, rest: Partial<DropNote> = {}): DropNote {
  return {
    time: T + second * 1000,
    reason: 'no-backend',
    thread: 1,
    length: 60,
    source,
    destination: VIP,
    protocol: 6,
    sport: 40_000,
    dport: 443,
    service: 0,
    backend: -1,
    ...rest,
  };
}

function sources(list: readonly DropNote[] = [], events: HistorySources['events'] = []): HistorySources {
  const memories = [createDropNotes(), createDropNotes()];
  writeDropNotes(memories, list);
  return {
    ...recorded(),
    notes: (search) => searchDropNotes(memories, search),
    events,
    since: T,
    now: T + 10_500,
    protocolWord: (protocol) => (protocol === 6 ? 'tcp' : String(protocol)),
  };
}

function ask(rest: Partial<HistoryQuestion> = {}): HistoryQuestion {
  return {
    from: T,
    to: T + 10_000,
    client: null,
    clientPrefix: null,
    service: null,
    pool: null,
    backend: null,
    reason: null,
    ...rest,
  };
}

const of = (address: Uint8Array): Partial<HistoryQuestion> => ({
  client: address.join('.'),
  clientPrefix: { bytes: address, length: 8 * address.length },
});
const at = (second: number) => new Date(T + second * 1000).toISOString();

test('sums of the window, and the second that had most', () => {
  const all = historyAnswer(ask(), sources());
  assert.deepEqual(all.services, [{ name: 'web', packets: 45, bytes: 4500, peak: 9, peakAt: at(9) }]);
  assert.deepEqual(all.backends, [{ name: 'p/a', packets: 45, bytes: 0, peak: 9, peakAt: at(9) }]);
  assert.deepEqual(
    all.drops.map(({ name, packets, peak, peakAt, noted }) => [name, packets, peak, peakAt, noted]),
    [['no-backend', 50, 50, at(5), 0]],
  );
  assert.deepEqual([all.counters.covers, all.counters.seconds, all.counters.from], ['all', 10, at(0)]);
  const part = historyAnswer(ask({ from: T + 2000, to: T + 4000 }), sources());
  assert.deepEqual(part.services, [{ name: 'web', packets: 5, bytes: 500, peak: 3, peakAt: at(3) }]);
  assert.deepEqual([part.drops, part.counters.seconds], [[], 2]);
});

test('a second that lasted longer is no peak for that', () => {
  const { ring, series } = recorded();
  const bank = createBank();
  ring.begin(T + 60_000, 50_000);
  const web = series.all().findIndex(({ name }) => name === 'web');
  ring.add(web, 100, 0);
  bank.fill(0);
  const answer = historyAnswer(ask({ to: T + 60_000 }), { ...sources(), ring, series });
  assert.deepEqual(
    answer.services.map(({ packets, peak }) => [packets, peak]),
    [[145, 9]],
  );
});

test('the peak is that of the second as the clock has it, though it was counted a millisecond before or behind', () => {
  for (const early of [-1, 0, 1, -250]) {
    const ring = new SecondRing(100, 1000);
    const { series } = recorded();
    const web = series.all().findIndex(({ name }) => name === 'web');
    for (let s = 0; s < 10; s++) {
      ring.begin(T + (s + 1) * 1000 - early, 1000);
      ring.add(web, s === 5 ? 100 : 1, 0);
    }
    const told = historyAnswer(ask({ from: T + 5000, to: T + 6000 }), { ...sources(), ring, series });
    assert.deepEqual(
      told.services.map(({ packets, peakAt }) => [packets, peakAt]),
      [[100, at(5)]],
      String(early),
    );
  }
});

test('whoever asks for the second of the peak gets it, however late or long it was counted', () => {
  for (const begun of [-499, -250, -1, 0, 1, 250, 499]) {
    for (const lasted of [501, 750, 1000, 1250, 1499, 1750, 2400]) {
      const ring = new SecondRing(10, 100);
      const series = new CounterSeries(T);
      const bank = createBank();
      series.look([bank], NAMES, 0, T - 9000, () => {});
      bank[SERVICES_AT] += 5;
      ring.begin(T + begun + lasted, lasted);
      series.look([bank], NAMES, 0, T + begun + lasted, (number, packets, bytes) => ring.add(number, packets, bytes));
      const all = { ...sources(), ring, series };
      const peak = Date.parse(historyAnswer(ask({ from: T - 5000, to: T + 5000 }), all).services[0].peakAt);
      const [again] = historyAnswer(ask({ from: peak, to: peak + 1000 }), all).services;
      assert.equal(again?.packets, 5, `begun ${begun}, lasted ${lasted}`);
    }
  }
});

test('which tables count more than was asked for; how many drops are its own', () => {
  const wider = (rest: Partial<HistoryQuestion>) => historyAnswer(ask(rest), sources()).wider.join();
  assert.equal(wider({}), '');
  assert.equal(wider(of(CLIENT)), 'totals,services,backends,drops');
  assert.equal(wider({ service: 'web', pool: 'p' }), 'totals,backends,drops');
  assert.equal(wider({ backend: 'p/a', pool: 'p' }), 'totals,services,drops');
  assert.equal(wider({ reason: 'no-backend' }), 'totals,services,backends');
  assert.equal(wider({ reason: 'no-backend', service: 'web' }), 'totals,services,backends,drops');
  const list = [note(1, CLIENT), note(2, OTHER, { service: 1 }), note(3, CLIENT, { service: -1 })];
  const drops = (rest: Partial<HistoryQuestion>) =>
    historyAnswer(ask(rest), sources(list)).drops.map(({ packets, noted, matching }) => [packets, noted, matching]);
  assert.deepEqual(drops({}), [[50, 3, 3]]);
  assert.deepEqual(drops({ service: 'dns', pool: 'q' }), [[50, 3, 1]]);
  assert.deepEqual(drops(of(CLIENT)), [[50, 3, 2]]);
});

test('which part of the window is held: all, what was before the start, forgotten, or is yet to come', () => {
  const cover = (from: number, to: number, more = sources()) => {
    const { covers, because } = historyAnswer(ask({ from: T + from * 1000, to: T + to * 1000 }), more).counters;
    return [covers, because];
  };
  assert.deepEqual(cover(1, 5), ['all', null]);
  assert.deepEqual(cover(-5, 5), ['part', 'before-start']);
  assert.deepEqual(cover(-50, -5), ['none', 'before-start']);
  assert.deepEqual(cover(5, 60), ['part', 'future']);
  assert.deepEqual(cover(50, 60), ['none', 'future']);
  const full = new SecondRing(2, 10);
  for (let s = 0; s < 5; s++) full.begin(T + s * 1000, 1000);
  assert.deepEqual(cover(-50, -5, { ...sources(), ring: full }), ['none', 'forgotten']);
  assert.deepEqual(cover(0, 1, { ...sources(), ring: new SecondRing(2, 10) }), ['none', 'before-start']);
});

test('notes of a client, as source or destination; of a reason; of a service; the nearest where there are none', () => {
  const list = [
    note(1, CLIENT),
    note(2, OTHER),
    note(3, VIP, { destination: CLIENT, reason: 'reply-failed', protocol: 1, service: -1 }),
    note(30, CLIENT, { backend: 3 }),
  ];
  const told = historyAnswer(ask(of(CLIENT)), sources(list));
  assert.deepEqual(
    told.notes?.map(({ time, reason, service, backend }) => [time, reason, service, backend]),
    [
      [at(1), 'no-backend', 'web', null],
      [at(3), 'reply-failed', null, null],
    ],
  );
  assert.deepEqual(told.notes?.[0], {
    ...{ time: at(1), reason: 'no-backend', thread: 1, length: 60, protocol: 'tcp', source: '192.0.2.7', sport: 40_000 },
    ...{ destination: '198.51.100.1', dport: 443, service: 'web', backend: null },
  });
  assert.equal(told.nearest, null);
  assert.equal(historyAnswer(ask({ ...of(CLIENT), reason: 'no-backend' }), sources(list)).notes?.length, 1);
  assert.equal(historyAnswer(ask({ service: 'web', pool: 'p' }), sources(list)).notes?.length, 2);
  assert.equal(historyAnswer(ask({ service: 'dns' }), sources(list)).notes?.length, 0);
  assert.equal(historyAnswer(ask({ backend: 'p/a', pool: 'p', to: T + 60_000 }), sources(list)).notes?.length, 1);
  const none = historyAnswer(ask({ ...of(CLIENT), from: T + 5000 }), sources(list));
  assert.deepEqual(none.notes, []);
  assert.deepEqual([none.nearest?.before?.time, none.nearest?.after?.time], [at(3), at(30)]);
  const nobody = historyAnswer(ask(of(Uint8Array.of(192, 0, 2, 9))), sources(list));
  assert.deepEqual(nobody.nearest, { before: null, after: null });
});

test('where notes of the window were pushed out by newer ones, it is said; over HTTP there are none at all', () => {
  const full = (oldest: number) => sources(Array.from({ length: NOTES_KEPT }, () => note(oldest, OTHER)));
  assert.deepEqual(historyAnswer(ask(), sources([note(4, OTHER)])).pushedOut, []);
  assert.deepEqual(historyAnswer(ask(), full(0)).pushedOut, []);
  assert.deepEqual(historyAnswer(ask(), full(4)).pushedOut, [{ reason: 'no-backend', before: at(4) }]);
  assert.deepEqual(historyAnswer(ask(), full(99)).pushedOut, [{ reason: 'no-backend', before: at(10) }]);
  assert.deepEqual(historyAnswer(ask({ reason: 'not-ip' }), full(4)).pushedOut, []);
  const remote = historyAnswer(ask(of(CLIENT)), { ...sources([note(1, CLIENT)]), notes: null });
  assert.deepEqual([remote.notes, remote.nearest, remote.drops[0].noted, remote.drops[0].matching], [null, null, null, null]);
  assert.ok(!JSON.stringify({ ...remote, asked: null }).includes('192.0.2.7'));
});

test('the newest 1,000 notes, and how many more there are', () => {
  const list = Array.from({ length: 1234 }, (_, k) => note(k / 1000, CLIENT, k % 2 === 0 ? {} : { thread: 0, reason: 'not-ip' }));
  const told = historyAnswer(ask(), sources(list));
  assert.deepEqual([told.notes?.length, told.notesLeftOut, told.notes?.at(-1)?.time], [1000, 234, at(1.233)]);
});

test('state changes of the window; those of other pools and backends not, when one was asked for', () => {
  const journal = new EventJournal(createLog({ level: 'silent', format: 'json' } as never), 4);
  const record = (kind: string, fields: Record<string, unknown>) => journal.record('info', kind, kind, fields);
  record('forgotten', {});
  record('published', { generation: 2 });
  record('a-down', { pool: 'p', backend: 'a' });
  record('b-down', { pool: 'q', backend: 'b' });
  record('p-minimum', { pool: 'p' });
  const window = { from: Date.now() - 60_000, to: Date.now() + 1000 };
  const kinds = (rest: Partial<HistoryQuestion>) =>
    historyAnswer(ask({ ...window, ...rest }), sources([], journal.since())).events.map(({ kind }) => kind);
  assert.deepEqual(kinds({}), ['published', 'a-down', 'b-down', 'p-minimum']);
  assert.deepEqual(kinds({ backend: 'p/a', pool: 'p' }), ['published', 'a-down', 'p-minimum']);
  assert.deepEqual(kinds({ service: 'dns', pool: 'q' }), ['published', 'b-down']);
  assert.deepEqual(kinds({ from: T, to: T + 1 }), []);
  const told = historyAnswer(ask(window), sources([], journal.since()));
  assert.ok(told.eventsSince !== null, 'one was forgotten');
  assert.equal(historyAnswer(ask(window), sources()).eventsSince, null);
});
