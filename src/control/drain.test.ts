import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import type { BackendState, PoolSpec } from '../pipeline/spec.ts';
import { type DrainNews, Drains } from './drain.ts';

function pool(name: string, backends: Readonly<Record<string, { state?: BackendState; drainDeadline?: number }>>): PoolSpec {
  const list = Object.entries(backends).map(([backend, own], i) => ({
    name: backend,
    address: Uint8Array.of(10, 0, 0, i + 1),
    weight: 1,
    state: 'active' as BackendState,
    ...own,
  }));
  return { name, tableSize: 7, seed: 0, tunnel: {} as never, backends: list };
}

const words = (news: readonly DrainNews[]) =>
  news.map(({ what, drain }) => `${what} ${drain.pool}/${drain.backend} ${drain.cause}`);

test('by hand: draining, down after its deadline, back when cancelled', () => {
  let now = 1000;
  const drains = new Drains(() => now);
  const pools = [pool('web', { w1: {}, w2: {} })];
  drains.start('web', 'w1', 10);
  assert.deepEqual([...drains.layer()], [['web/w1', 'draining']]);
  assert.equal(drains.next(), 11_000);
  now = 10_999;
  assert.deepEqual(drains.expire(), []);
  now = 11_000;
  assert.deepEqual(words(drains.expire()), ['deadline web/w1 command']);
  assert.deepEqual(drains.expire(), [], 'told once');
  assert.deepEqual([...drains.layer()], [['web/w1', 'down']]);
  assert.equal(drains.next(), null);
  assert.deepEqual(drains.follow(pools), [], 'a reload changes nothing');
  assert.equal(drains.cancel('web', 'w1')?.passed, true);
  assert.equal(drains.cancel('web', 'w1'), null);
  assert.deepEqual([...drains.layer()], []);
});

test('asked again it keeps its beginning; the deadline counts from now', () => {
  let now = 0;
  const drains = new Drains(() => now);
  drains.start('web', 'w1', null);
  assert.equal(drains.next(), null);
  now = 5000;
  assert.deepEqual(drains.start('web', 'w1', 3), {
    ...{ pool: 'web', backend: 'w1', cause: 'command', since: 0, deadline: 8000, passed: false },
  });
  drains.start('web', 'w1', 0);
  assert.deepEqual([...drains.layer()], [['web/w1', 'down']], 'no time at all');
});

test('the configuration: counted from when it came into force, whatever is reloaded; ends with it', () => {
  let now = 0;
  const drains = new Drains(() => now);
  const wanted = pool('web', { w1: { state: 'draining', drainDeadline: 60 }, w2: {}, w3: { state: 'draining' } });
  assert.deepEqual(words(drains.follow([wanted])), ['started web/w1 configuration', 'started web/w3 configuration']);
  now = 30_000;
  assert.deepEqual(drains.follow([wanted]), []);
  assert.equal(drains.next(), 60_000);
  assert.deepEqual(drains.follow([pool('web', { w1: { state: 'draining', drainDeadline: 40 }, w3: { state: 'draining' } })]), []);
  assert.equal(drains.next(), 40_000, 'another deadline, the same beginning');
  now = 40_000;
  assert.deepEqual(words(drains.expire()), ['deadline web/w1 configuration']);
  assert.deepEqual(
    [...drains.layer()],
    [
      ['web/w1', 'down'],
      ['web/w3', 'draining'],
    ],
  );
  assert.deepEqual(words(drains.follow([pool('web', { w1: {}, w3: { state: 'down' } })])), [
    'cancelled web/w1 configuration',
    'cancelled web/w3 configuration',
  ]);
  assert.equal(drains.layer().size, 0);
});

test('a backend that is gone takes its drains with it, but not where a watched file could not be read', () => {
  const drains = new Drains(() => 0);
  drains.start('web', 'w1', 10);
  drains.start('files', 'f1', null);
  assert.deepEqual(drains.follow([pool('web', {}), pool('files', {})], new Set(['web', 'files'])), []);
  assert.equal(drains.layer().size, 2);
  assert.deepEqual(words(drains.follow([pool('web', {})], new Set(['web']))), ['gone files/f1 command']);
  assert.deepEqual(words(drains.follow([pool('web', {})])), ['gone web/w1 command']);
});

test('two causes are two drains: ending one leaves the other', () => {
  const drains = new Drains(() => 0);
  drains.follow([pool('web', { w1: { state: 'draining', drainDeadline: 5 } })]);
  drains.start('web', 'w1', 0);
  assert.equal(drains.layer().get('web/w1'), 'down');
  drains.cancel('web', 'w1');
  assert.equal(drains.layer().get('web/w1'), 'draining');
});

test('what is handed over goes on as it was: same deadlines, none told twice', () => {
  let now = 0;
  const first = new Drains(() => now);
  first.start('web', 'w1', 10);
  first.start('web', 'w2', 50);
  first.start('web', 'w3', null);
  now = 20_000;
  const second = new Drains(() => now);
  second.restore(first.records());
  first.expire();
  assert.deepEqual(second.list(), first.list());
  assert.deepEqual(second.expire(), []);
  assert.equal(second.next(), 50_000);
});

test('whatever happens, the layer names exactly who is drained, and says down exactly after a deadline', () => {
  const step = fc.record({ wait: fc.nat(20), backend: fc.nat(3), seconds: fc.option(fc.nat(30)), cancel: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      let now = 0;
      const drains = new Drains(() => now);
      const expected = new Map<string, number>();
      for (const { wait, backend, seconds, cancel } of steps) {
        now += wait * 1000;
        const name = `w${backend}`;
        if (cancel) {
          assert.equal(drains.cancel('p', name) !== null, expected.delete(`p/${name}`));
        } else {
          drains.start('p', name, seconds);
          expected.set(`p/${name}`, seconds === null ? Number.POSITIVE_INFINITY : now + seconds * 1000);
        }
        drains.expire();
        const layer = new Map([...expected].map(([key, deadline]) => [key, deadline <= now ? 'down' : 'draining']));
        assert.deepEqual(new Map([...drains.layer()].sort()), new Map([...layer].sort()));
      }
    }),
  );
});
