import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventJournal } from './events.ts';
import { createLog, RepeatedLines } from './log.ts';

function collect(format: 'json' | 'text', level = 'info') {
  const lines: string[] = [];
  return { lines, log: createLog({ level, format, write: (line) => lines.push(line) }) };
}

test('json: one object per line with time, level word, message and fields', () => {
  const { lines, log } = collect('json');
  log.warn({ event: 'host', hint: 'sysctl -w net.ipv4.ip_forward=1' }, 'forwarding is off');
  log.debug('not at this level');
  assert.equal(lines.length, 1);
  const entry = JSON.parse(lines[0]);
  assert.equal(entry.level, 'warn');
  assert.equal(entry.msg, 'forwarding is off');
  assert.equal(entry.event, 'host');
  assert.equal(entry.pid, process.pid);
  assert.ok(Math.abs(Date.parse(entry.time) - Date.now()) < 5000);
});

test('text: time, level, message, fields; hint and stack below', () => {
  const { lines, log } = collect('text');
  log.warn({ event: 'host', hint: 'sysctl -w x=1', packets: 3, name: 'a b' }, 'forwarding is off');
  log.error({ err: new Error('broken') }, 'broken');
  assert.match(
    lines[0],
    /^\d\d:\d\d:\d\d\.\d{3} WARN {2}forwarding is off {2}event=host packets=3 name="a b"\n {19}hint: sysctl -w x=1\n$/,
  );
  assert.match(lines[1], /ERROR broken\n {19}Error: broken\n {19} +at /);
});

test('text: control characters from outside can not move the cursor', () => {
  const { lines, log } = collect('text');
  log.info({ name: '\x1b[2J' }, 'line\nbreak \x1b[2J');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: their absence is the point
  assert.doesNotMatch(lines[0].slice(0, -1), /[\x00-\x1f]/);
});

test('repeats: the first passes, the rest of the window is held back and counted', () => {
  const repeated = new RepeatedLines(1000);
  assert.equal(repeated.admit('a', 0), 0);
  assert.equal(repeated.admit('a', 10), -1);
  assert.equal(repeated.admit('b', 10), 0);
  assert.equal(repeated.admit('a', 999), -1);
  assert.equal(repeated.admit('a', 1000), 2);
  assert.equal(repeated.admit('a', 2000), 0);
});

test('the journal logs each event once, keeps the newest, and numbers them', () => {
  const { lines, log } = collect('json');
  const journal = new EventJournal(log, 2);
  journal.record('info', 'ready', 'forwarding', { threads: 1 });
  journal.record('error', 'thread-failed', 'it broke');
  journal.record('info', 'stopped', 'stopped');
  assert.deepEqual(
    journal.since(0).map(({ sequence, kind }) => [sequence, kind]),
    [
      [2, 'thread-failed'],
      [3, 'stopped'],
    ],
  );
  assert.deepEqual(
    journal.since(2).map(({ kind }) => kind),
    ['stopped'],
  );
  assert.equal(lines.length, 3);
  assert.equal(JSON.parse(lines[1]).level, 'error');
  assert.equal(JSON.parse(lines[0]).event, 'ready');
});
