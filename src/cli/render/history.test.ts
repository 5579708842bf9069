import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HistoryAnswer, HistoryNote } from '../../observe/history.ts';
import { historyText } from './history.ts';
import { paintFor } from './paint.ts';

const PLAIN = paintFor({}, { NO_COLOR: '1' });
const at = (minute: number, second = 0, millisecond = 0) => new Date(2026, 10, 23, 14, minute, second, millisecond).toISOString();

function answer(rest: Partial<HistoryAnswer> = {}): HistoryAnswer {
  return {
    now: at(30),
    since: at(0),
    window: { from: at(2), to: at(3) },
    asked: { client: null, service: null, backend: null, reason: null },
    counters: { from: at(0), to: at(30), covers: 'all', because: null, seconds: 60 },
    totals: [],
    services: [],
    backends: [],
    drops: [],
    events: [],
    eventsSince: null,
    notes: [],
    notesLeftOut: 0,
    pushedOut: [],
    nearest: { before: null, after: null },
    ...rest,
  };
}

const note = (second: number, rest: Partial<HistoryNote> = {}): HistoryNote => ({
  ...{
    time: at(2, second, 117),
    reason: 'no-backend',
    thread: 1,
    length: 60,
    protocol: 'tcp',
    source: '192.0.2.7',
    sport: 40_000,
  },
  ...{ destination: '198.51.100.1', dport: 443, service: 'web', backend: null },
  ...rest,
});
const asked = (client: string): Pick<HistoryAnswer, 'asked'> => ({
  asked: { client, service: null, backend: null, reason: null },
});
const text = (rest: Partial<HistoryAnswer>) => historyText(answer(rest), PLAIN);

test('a window in which nothing was', () => {
  assert.match(text({}), /^2026-11-23 14:02:00 to 14:03:00 \([^)]+\)\nnothing recorded\n$/);
});

test('a client of which something was dropped: first what, then around it', () => {
  const told = text({
    ...asked('192.0.2.7'),
    notes: [note(3), note(4, { reason: 'send-failed', backend: 'p/a' })],
    nearest: null,
    events: [{ time: at(2, 1), level: 'error', kind: 'health-minimum', text: 'pool p has 0 good backends of 3', fields: {} }],
    totals: [{ name: 'received', packets: 900, bytes: 1, peak: 30, peakAt: at(2, 7) }],
    drops: [{ name: 'no-backend', packets: 12, bytes: 0, peak: 9, peakAt: at(2, 3), text: 'the pool has no backend', noted: 12 }],
    services: [{ name: 'web', packets: 880, bytes: 52_800, peak: 29, peakAt: at(2, 7) }],
    backends: [{ name: 'p/a', packets: 868, bytes: 52_080, peak: 28, peakAt: at(2, 7) }],
  });
  const lines = told.split('\n');
  assert.match(lines[0], /client 192\.0\.2\.7\)$/);
  assert.deepEqual(lines.slice(2, 9), [
    '192.0.2.7: 2 packets dropped',
    '  14:02:03.117  no-backend   tcp 192.0.2.7:40000 → 198.51.100.1:443  60 bytes  thread 1, service web',
    '  14:02:04.117  send-failed  tcp 192.0.2.7:40000 → 198.51.100.1:443  60 bytes  thread 1, service web, for p/a',
    '  what to do: docs/drop-reasons.md#no-backend',
    '  what to do: docs/drop-reasons.md#send-failed',
    'Packets that are forwarded leave no note. Where its packets go now, and what is known of the flow:',
    '  gue-director explain tcp 192.0.2.7:40000 198.51.100.1:443',
  ]);
  assert.match(told, /state changes\n {2}14:02:01\.000 {2}error {2}health-minimum {2}pool p has 0 good backends of 3\n/);
  assert.match(told, /packets: received 900 \(30\/s at 14:02:07\)\n/);
  assert.match(
    told,
    / {2}dropped as {2}packets {2}peak\/s {2}at {8}because\n {2}no-backend {7}12 {7}9 {2}14:02:03 {2}the pool has no backend\n/,
  );
  assert.match(told, / {2}web {10}880 {2}52800 {6}29 {2}14:02:07\n/);
});

test('a client of which nothing is noted: said, with what may be missing, the nearest, and how to ask for its flow', () => {
  const told = text({
    ...asked('2001:db8::7'),
    pushedOut: [{ reason: 'not-a-service', before: at(2, 30) }],
    nearest: { before: null, after: note(59, { time: at(9), source: '2001:db8::7', destination: '2001:db8:1::1' }) },
  });
  assert.match(
    told,
    /nothing recorded\n\n2001:db8::7: nothing recorded: no drop of a packet from or to it is noted in this window\n/,
  );
  assert.match(
    told,
    /drops as not-a-service before 14:02:30\.000 may have been its own: their notes were pushed out by newer ones\n/,
  );
  assert.match(told, /the nearest after it: 2026-11-23 14:09:00\.000 {2}no-backend {2}tcp \[2001:db8::7\]:40000 → /);
  assert.match(told, /gue-director explain tcp \[2001:db8::7\]:40000 \[2001:db8:1::1\]:443\n/);
  assert.match(text(asked('192.0.2.9')), /gue-director explain tcp 192\.0\.2\.9:PORT SERVICE:PORT\n/);
  assert.match(text(asked('192.0.2.0/24')), /explain tcp CLIENT:PORT SERVICE:PORT\n/);
});

test('a window that is not held, or in part', () => {
  const counters = (covers: 'all' | 'part' | 'none', because: 'before-start' | 'forgotten' | 'future') =>
    text({ counters: { from: at(5), to: at(30), covers, because, seconds: 0 } });
  assert.match(
    counters('none', 'before-start'),
    /no counters of this window are held: this director has recorded since 14:00:00\n/,
  );
  assert.match(
    counters('part', 'forgotten'),
    /counters of a part of this window are held: older ones than 14:05:00 are forgotten\n/,
  );
  assert.match(counters('none', 'future'), /the last second that was counted ended at 14:30:00\n/);
});

test('a flood is cut to the last lines, and says so', () => {
  const notes = Array.from({ length: 100 }, (_, k) => note(k % 60, { length: 100 + k }));
  const told = text({ notes, notesLeftOut: 5, nearest: null });
  assert.match(told, /105 packets dropped, the last 40 of them\n/);
  assert.equal(told.split('\n').filter((line) => line.includes('no-backend  ')).length, 40);
});
