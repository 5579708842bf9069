import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PageStage } from '../../../test/page/stage.ts';
import fc from '../../../test/property.ts';
import { type Look, ratesBetween } from '../rates.ts';
import { paintFor } from './paint.ts';
import { cut, pressed, rateText, type TopView, topLines } from './top.ts';

const PLAIN = paintFor({}, { NO_COLOR: '1' });
const COLOURED = paintFor({}, { FORCE_COLOR: '1' });
const VIEW: TopView = { sort: 'configuration', isHelp: false };
const ALL = { rows: Number.POSITIVE_INFINITY, columns: Number.POSITIVE_INFINITY };

function twoLooks(change: (look: Look) => Look = (look) => look): [Look, Look] {
  const stage = new PageStage();
  const before: Look = { at: 1000, status: stage.state() };
  return [before, change({ at: 3000, status: stage.state() })];
}

test('rates are the difference of two looks, per second', () => {
  const [before, after] = twoLooks();
  const rates = ratesBetween(before, after)!;
  assert.equal(rates.seconds, 2);
  const [web] = rates.services;
  assert.equal(web.packets, (after.status.services[0].packets - before.status.services[0].packets) / 2);
  assert.equal(web.bits, 4 * (after.status.services[0].bytes - before.status.services[0].bytes));
  assert.equal(rates.backends.length, 9);
  assert.deepEqual(Object.keys(rates.drops), ['not-a-service']);
});

test('another process, or the same one before: nothing to compare; a service that came meanwhile began at 0', () => {
  const [before, after] = twoLooks();
  assert.equal(ratesBetween(before, { ...after, status: { ...after.status, pid: 1 } }), null);
  assert.equal(ratesBetween(after, before), null);
  const without = { ...before, status: { ...before.status, services: before.status.services.slice(1), drops: {} } };
  const rates = ratesBetween(without, after)!;
  assert.equal(rates.services[0].packets, after.status.services[0].packets / 2);
  // What counts less than before was removed and added again.
  const services = after.status.services.map((one) => ({ ...one, packets: 0 }));
  assert.equal(ratesBetween(before, { ...after, status: { ...after.status, services } })?.services[0].packets, 0);
});

test('the picture: heading, what needs attention, then services, backends and drops; sorted as asked', () => {
  const [before, after] = twoLooks();
  const rates = ratesBetween(before, after);
  const facts = { status: after.status, rates, problem: null };
  const text = topLines(facts, VIEW, ALL, PLAIN).join('\n');
  assert.match(
    text,
    /^gue-director 0\.1\.0: ready, up 1 d 3 h, generation 12, \/etc\/gue-director\/director\.yaml\npackets\/s: received \d\d\.\d k, /,
  );
  assert.match(text, /\nbackend uploads\/up-3: down for 5\d s: http:8080: connection refused\n/);
  assert.match(
    text,
    /\n\nservice +pool +state +packets\/s +bits\/s +packets\nweb +web-workers +ready +1\d\.\d k +\d\d\.\d M +\d+\n/,
  );
  assert.match(text, /\nweb-workers\/web-4 +198\.51\.100\.4 +draining +- +2 +0\.00 % /);
  assert.match(text, /\n\ndropped as +packets\/s +packets\nnot-a-service +\d\d +\d+$/);
  const order = (sort: TopView['sort']) =>
    topLines(facts, { ...VIEW, sort }, ALL, PLAIN).flatMap((line) => /^(web|uploads|quic|dns) /.exec(line)?.[1] ?? []);
  assert.deepEqual(order('configuration'), ['web', 'uploads', 'quic', 'dns']);
  assert.deepEqual(order('name'), ['dns', 'quic', 'uploads', 'web']);
  assert.equal(order('rate')[0], 'web');
  const first = topLines({ status: before.status, rates: null, problem: null }, VIEW, ALL, PLAIN).join('\n');
  assert.match(first, /packets\/s: received -, forwarded -/);
  const lost = topLines({ ...facts, problem: 'no director answers' }, VIEW, ALL, PLAIN);
  assert.ok(lost.includes('no answer, what you see is older: no director answers'));
});

test('whatever the size, the picture fits, and every section has its line', () => {
  const [before, after] = twoLooks();
  const facts = { status: after.status, rates: ratesBetween(before, after), problem: null };
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with one
  const seen = (line: string) => [...line.replace(/\x1b\[[0-9;]*m/g, '')].length;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 160 }), fc.boolean(), (rows, width, isHelp) => {
      const lines = topLines(facts, { ...VIEW, isHelp }, { rows, columns: width }, COLOURED);
      assert.ok(lines.length <= rows);
      for (const line of lines) assert.ok(seen(line) <= width, line);
    }),
  );
  const small = topLines(facts, VIEW, { rows: 24, columns: 80 }, PLAIN);
  assert.equal(small.length, 24);
  assert.equal(small.filter((line) => /^… and \d+ more$/.test(line)).length, 1, small.join('\n'));
  assert.match(small.at(-1)!, /^q quit {3}s sort: configuration {3}\? help$/);
});

test('keys: s goes through the sorts, ? shows help which any key leaves, q and Ctrl-C end', () => {
  const after = (...keys: string[]) => keys.reduce<TopView | null>((view, key) => view && pressed(view, key), VIEW);
  assert.equal(after('s')?.sort, 'rate');
  assert.deepEqual(after('s', 's', 's', 'x'), VIEW);
  assert.equal(after('?')?.isHelp, true);
  assert.deepEqual(after('?', 's'), VIEW);
  assert.equal(after('?', 'q'), null);
  assert.equal(after('\x03'), null);
});

test('rates in three digits; a line is cut by what is seen of it', () => {
  assert.deepEqual([undefined, 0, 0.26, 9.96, 999.4, 1000, 12_345, 99_960, 123_456, 2.5e9].map(rateText), [
    '-',
    '0',
    '0.3',
    '10',
    '999',
    '1.0 k',
    '12.3 k',
    '100 k',
    '123 k',
    '2.5 G',
  ]);
  assert.equal(cut('abc', 3), 'abc');
  assert.equal(cut('\x1b[31mabcd\x1b[39m', 3), '\x1b[31mabc\x1b[0m');
  assert.equal(cut('a→c', 2), 'a→');
});
