import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlowTable } from '../pipeline/flow-table.ts';
import { countFlows } from './drain-flows.ts';
import { parseDrainRequest } from './drain-request.ts';

test('requests: a list, a backend, the director; anything else is said to be wrong', () => {
  assert.deepEqual(parseDrainRequest({}), { what: 'list' });
  const backend = { what: 'backend', pool: 'web', backend: 'w.1', cancel: false, force: false };
  assert.deepEqual(parseDrainRequest({ backend: 'web/w.1' }), { ...backend, deadline: undefined });
  assert.deepEqual(parseDrainRequest({ backend: 'web/w.1', deadline: null }), { ...backend, deadline: null });
  assert.deepEqual(parseDrainRequest({ backend: 'web/w.1', deadline: 0.5, force: true }), {
    ...backend,
    deadline: 0.5,
    force: true,
  });
  assert.deepEqual(parseDrainRequest({ director: true, stopAfter: 60 }), { what: 'director', cancel: false, stopAfter: 60 });
  for (const wrong of [
    { backend: 'w1' },
    { backend: 'a/b/c' },
    { backend: 7 },
    { backend: '/w1' },
    { backend: 'web/w1', deadline: -1 },
    { backend: 'web/w1', deadline: '10m' },
    { backend: 'web/w1', deadline: Number.NaN },
    { backend: 'web/w1', cancel: 'yes' },
    { backend: 'web/w1', director: true },
    { director: false },
    { director: true, stopAfter: 1e9 },
    { what: 'backend' },
  ]) {
    assert.ok('refusal' in parseDrainRequest(wrong), JSON.stringify(wrong));
  }
});

test('flows are counted by backend in all shards, the silent ones apart, the forgotten ones not', async () => {
  const key = new Int32Array([1, 2]);
  const [a, b] = [new FlowTable(4096, key), new FlowTable(4096, key)];
  const now = 10_000;
  let flow = 0;
  const add = (table: FlowTable, backend: number, seen: number, count: number) => {
    for (let i = 0; i < count; i++) assert.ok(table.insert(++flow, ~flow, backend, seen, true));
  };
  add(a, 3, now, 100);
  add(b, 3, now - 60, 20);
  add(b, 3, now - 61, 5);
  add(a, 3, now - 601, 7);
  add(a, 4, now - 30, 11);
  add(b, 0, now, 13);
  assert.deepEqual(
    [...(await countFlows([a.words, b.words], [3, 4, 9], now))],
    [
      [3, { alive: 120, remembered: 125 }],
      [4, { alive: 11, remembered: 11 }],
      [9, { alive: 0, remembered: 0 }],
    ],
  );
  assert.equal((await countFlows([a.words], [], now)).size, 0);
});
