import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flowRegions } from '../pipeline/flow-regions.ts';
import { usedEntries } from './flow-occupancy.ts';

const KEY = Int32Array.of(1, 2, 3, 4);
const NOW = 10_000;

/** An array of so many buckets in so many regions, and random flows in the tables of its first `threads` threads, `flows` each. */
function filled(options: { buckets: number; regions: number; threads: number; flows: number; seen?: number }) {
  const { buckets, regions, threads, flows, seen = NOW } = options;
  const geometry = { buckets, regions, finest: regions };
  const words = new Int32Array(buckets * 16);
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state ^ (state >>> 15);
  };
  for (let thread = 0; thread < threads; thread++) {
    const { own } = flowRegions(words, KEY, geometry, thread);
    for (let i = 0; i < flows; i++) own.insert(next(), next(), 7, seen, true);
  }
  let exact = 0;
  for (let at = 0; at < words.length; at += 4) if (words[at + 2] !== 0) exact++;
  return { geometry, words, exact };
}

test('a small table is counted, entry by entry', () => {
  const { words, geometry, exact } = filled({ buckets: 1024, regions: 2, threads: 2, flows: 700 });
  assert.ok(exact > 1200, String(exact));
  assert.equal(usedEntries(words, geometry, 2, NOW), exact);
});

test('a large one is estimated to about one in a hundred of what it holds', () => {
  const { words, geometry, exact } = filled({ buckets: 1 << 17, regions: 4, threads: 3, flows: 60_000 });
  const share = Math.abs(usedEntries(words, geometry, 3, NOW) - exact) / (3 * (1 << 17));
  assert.ok(share < 0.01, `off by ${share}`);
});

test('entries that were silent for ten minutes are not in use, and regions that nobody writes are not looked at', () => {
  const old = filled({ buckets: 1024, regions: 1, threads: 1, flows: 500, seen: NOW - 601 });
  assert.equal(usedEntries(old.words, old.geometry, 1, NOW), 0);
  assert.equal(usedEntries(old.words, old.geometry, 1, NOW - 1), old.exact);
  const { words, geometry } = filled({ buckets: 1024, regions: 4, threads: 4, flows: 100 });
  const three = usedEntries(words, geometry, 3, NOW);
  assert.ok(three > 250 && three <= 300, String(three));
  assert.throws(() => usedEntries(words, geometry, 5, NOW), RangeError);
});
