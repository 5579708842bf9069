import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlowTable } from '../pipeline/flow-table.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import { countFlows } from './flow-census.ts';
import { movingFlows } from './moving-flows.ts';

const NOW = 5000;

function shard(...flows: readonly [backend: number, seen: number, confirmed: boolean][]): Int32Array {
  const table = new FlowTable(1024, Int32Array.of(1, 2));
  flows.forEach(([backend, seen, confirmed], i) => {
    table.insert(Math.imul(i + 1, 0x9e3779b1), i + 1, backend, seen, confirmed);
  });
  return table.words;
}

test('entries are counted by backend over all shards, those that were silent for long are not', async () => {
  const found = await countFlows(
    [
      shard([1, NOW, true], [1, NOW - 599, false], [1, NOW - 601, true], [7, NOW, false]),
      shard([7, NOW - 10, true], [0, NOW, true]),
    ],
    NOW,
  );
  assert.deepEqual(Object.fromEntries(found), {
    0: { entries: 1, confirmed: 1 },
    1: { entries: 2, confirmed: 1 },
    7: { entries: 2, confirmed: 1 },
  });
});

test('a flow moves when its backend is removed, gets another address or goes down; not when it drains', () => {
  const named = (id: number, name: string, state = 'active') => ({ id, pool: 'a', name, address: `198.51.100.${id}`, state });
  const names = {
    services: [],
    pools: [],
    backends: [
      named(1, 'stays'),
      named(2, 'drains'),
      named(3, 'goes'),
      named(4, 'down'),
      named(5, 'moves'),
      named(6, 'was-down', 'down'),
    ],
  } as unknown as SnapshotNames;
  const backend = (name: string, last: number, state = 'active') => ({
    name,
    address: Uint8Array.of(198, 51, 100, last),
    weight: 1,
    state,
  });
  const wanted = {
    services: [],
    pools: [
      {
        name: 'a',
        backends: [backend('stays', 1), backend('drains', 2, 'draining'), backend('down', 4, 'down'), backend('moves', 55)],
      },
    ],
  } as unknown as Spec;
  const counted = new Map([1, 2, 3, 4, 5, 6, 99].map((id) => [id, { entries: 10 * id, confirmed: id }]));
  assert.deepEqual(movingFlows(names, wanted, counted), {
    entries: 210,
    confirmed: 21,
    moving: 120,
    movingConfirmed: 12,
    backends: [
      { pool: 'a', backend: 'goes', why: 'removed', entries: 30, confirmed: 3 },
      { pool: 'a', backend: 'down', why: 'down', entries: 40, confirmed: 4 },
      { pool: 'a', backend: 'moves', why: 'removed', entries: 50, confirmed: 5 },
    ],
  });
});
