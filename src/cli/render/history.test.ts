import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HistoryAnswer, HistoryNote } from '../../observe/history.ts';
import { historyText } from './history.ts';
import { paintFor } from './paint.ts';

const PLAIN = paintFor({}, { NO_COLOR: '1' });
const at = (minute: number, second = 0, millisecond = 0) => new Date(2026, 10, 23, 14, minute, second, millisecond).toISOString();

const NOBODY = { client: null, service: null, backend: null, reason: null };

function answer(rest: Partial<HistoryAnswer> = {}): HistoryAnswer {
  return {
    now: at(30),
    since: at(0),
    window: { from: at(2), to: at(3) },
    asked: NOBODY,
    counters: { from: at(0), to: at(30), covers: 'all', because: null, seconds: 60 },
    totals: [],
    services: [],
    backends: [],
    drops: [],
    wider: [],
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
const asked = (client: string): Pick<HistoryAnswer, 'asked' | 'wider'> => ({
  asked: { ...NOBODY, client },
  wider: ['totals', 'services', 'backends', 'drops'],
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
    drops: [
      {
        name: 'no-backend',
        packets: 12,
        bytes: 0,
        peak: 9,
        peakAt: at(2, 3),
        text: 'the pool has no backend',
        noted: 12,
        matching: 2,
      },
    ],
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
    / {2}dropped as {2}packets {2}of 192\.0\.2\.7 {2}peak\/s {2}at {8}because\n {2}no-backend {7}12 {13}2 {7}9 {2}14:02:03 {2}the pool has no backend\n/,
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
  assert.match(told, /105 packets dropped, the last 40\n/);
  assert.equal(told.split('\n').filter((line) => line.includes('no-backend  ')).length, 40);
});

const DROPS = [
  {
    name: 'no-backend',
    packets: 12,
    bytes: 0,
    peak: 9,
    peakAt: at(2, 3),
    text: 'the pool has no backend',
    noted: 12,
    matching: 2,
  },
  { name: 'not-a-service', packets: 3, bytes: 0, peak: 1, peakAt: at(2, 3), text: 'no service', noted: 3, matching: 0 },
];
const TRAFFIC = {
  totals: [{ name: 'received', packets: 900, bytes: 1, peak: 30, peakAt: at(2, 7) }],
  services: [{ name: 'web', packets: 880, bytes: 52_800, peak: 29, peakAt: at(2, 7) }],
  events: [{ time: at(2, 1), level: 'error', kind: 'health-minimum', text: 'pool p has 0 good backends of 3', fields: {} }],
} satisfies Partial<HistoryAnswer>;

test('a service: its own first, then plainly what is everybody’s, with how many of the drops are known to be its own', () => {
  const service = { ...NOBODY, service: 'web' };
  const wider = ['totals', 'backends', 'drops'] as const;
  const told = text({ ...TRAFFIC, asked: service, wider, drops: DROPS, notes: [note(3), note(4)], nearest: null });
  const [own, all] = told.split('\nNot only service web, but all that is recorded of this window:\n');
  assert.match(own, /service web: 2 packets dropped\n/);
  assert.match(own, /state changes\n[\s\S]* {2}web {10}880 /);
  assert.doesNotMatch(own, /received|dropped as/);
  assert.match(all, /^\npackets: received 900 /);
  assert.match(all, /dropped as {5}packets {2}of service web {2}peak\/s/);
  assert.match(all, /\n {2}no-backend {10}12 {15}2 {7}9 /);
  assert.match(all, /\n {2}not-a-service {8}3 {15}0 {7}1 /);
  const cut = text({
    asked: service,
    wider,
    drops: DROPS,
    notes: [note(3)],
    pushedOut: [{ reason: 'no-backend', before: at(2, 30) }],
  });
  assert.match(cut, /service web: at least 1 packet dropped\n/);
  assert.match(cut, /\n {2}no-backend +12 +at least 2 +9 /);
  const none = text({ ...TRAFFIC, asked: service, wider, drops: DROPS });
  assert.match(none, /\nservice web: no drop recorded: none of a packet known to be its own is noted in this window\n/);
});

test('a reason: its drops first, or that there is none and the nearest; then what happened around it', () => {
  const reason = { asked: { ...NOBODY, reason: 'no-backend' }, wider: ['totals', 'services', 'backends'] as const };
  const none = text({ ...TRAFFIC, ...reason, nearest: { before: note(1, { time: at(1) }), after: null } });
  assert.match(
    none,
    /^[^\n]*\n\nno-backend: nothing recorded: no packet was dropped for this reason in this window\nthe nearest before it: 2026-11-23 14:01:00\.000 {2}no-backend /,
  );
  assert.match(none, /\n\nNot only no-backend, but all that is recorded of this window:\n\nstate changes\n/);
  const some = text({ ...TRAFFIC, ...reason, drops: DROPS.slice(0, 1), notes: [note(3)], nearest: null });
  assert.match(some, /^[^\n]*\n\nno-backend: 12 packets dropped, 1 of them noted\n[\s\S]*dropped as[\s\S]*\nNot only no-backend/);
  assert.match(text({ ...reason, drops: DROPS.slice(0, 1) }), /\nno-backend: 12 packets dropped, of which no note is held\n/);
  const gone = text({ ...reason, counters: { from: at(5), to: at(30), covers: 'none', because: 'forgotten', seconds: 0 } });
  assert.match(gone, /\nno-backend: nothing recorded: no drop for this reason is counted or noted in this window\n/);
});
