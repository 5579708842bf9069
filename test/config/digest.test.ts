// Directors are compared by digests: the file's order has no part in them, and `check` prints what the daemon will serve.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { poolTable } from '../../src/cli/pool-table.ts';
import { loadText } from '../../src/config/load.ts';
import { SnapshotBuilder } from '../../src/pipeline/snapshot-builder.ts';

const example = readFileSync(new URL('../../config/director.yaml', import.meta.url), 'utf8');

function digests(yaml: string): Record<string, string> {
  const { names } = new SnapshotBuilder().build(loadText(yaml, 'f').spec);
  return Object.fromEntries(names.pools.map((pool) => [pool.name, pool.digest]));
}

test('the order of the backends has no part in the table', () => {
  const swapped = example.replace(/( +- \{ name: web-1.*\n)( +- \{ name: web-2.*\n)/, '$2$1');
  assert.notEqual(swapped, example);
  assert.deepEqual(digests(swapped), digests(example));
  assert.notDeepEqual(digests(example.replace('198.51.100.2,', '198.51.100.3,')), digests(example));
});

test('check and table print the digests of the snapshot', () => {
  const pools = loadText(example, 'f').spec.pools;
  assert.deepEqual(Object.fromEntries(pools.map((pool) => [pool.name, poolTable(pool).digest])), digests(example));
});
