import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { capacityOf, checkGeometry, flowRegions, LEAST_ARRAY_BUCKETS, regionsFor } from './flow-regions.ts';
import { FlowTable, tableMemory, wordsIn } from './flow-table.ts';

const KEY = Int32Array.of(1, 2);
const array = (buckets = LEAST_ARRAY_BUCKETS) => wordsIn(tableMemory(buckets), buckets);

test('regions are the threads rounded up to a power of two; each thread writes its own, and no other place', () => {
  assert.deepEqual([1, 2, 3, 4, 5, 33, 64].map(regionsFor), [1, 2, 4, 4, 8, 64, 64]);
  const words = array();
  const geometry = { buckets: LEAST_ARRAY_BUCKETS, regions: 4, finest: 4 };
  for (let thread = 0; thread < 4; thread++) {
    const { own, others } = flowRegions(words, KEY, geometry, thread);
    assert.equal(others.length, 3);
    for (let low = 0; low < 5000; low += 7) own.insert(low, thread, thread, 10, false);
  }
  for (let at = 0; at < words.length; at += 4) {
    if (words[at + 2] !== 0) assert.equal(words[at + 1], Math.floor((at * 4) / words.length), `the entry at ${at}`);
  }
  assert.equal(capacityOf(geometry, 3), LEAST_ARRAY_BUCKETS * 3);
  assert.throws(() => checkGeometry({ buckets: 128, regions: 64, finest: 64 }), RangeError);
  assert.throws(() => checkGeometry({ buckets: 256, regions: 4, finest: 2 }), RangeError);
});

/** The obvious twin: every entry of the array that bears the fingerprint, wherever it lies. */
function anywhere(words: Int32Array, low: number, high: number): number[] {
  const found: number[] = [];
  for (let at = 0; at < words.length; at += 4) {
    if (words[at] === low && words[at + 1] === high && words[at + 2] !== 0) found.push((words[at + 2] & 0xffffff) - 1);
  }
  return found;
}

test('property: whatever the numbers of threads before, a thread finds each entry that is there', () => {
  const history = fc.array(fc.record({ threads: fc.integer({ min: 1, max: 64 }), flows: fc.integer({ min: 1, max: 40 }) }), {
    minLength: 1,
    maxLength: 5,
  });
  fc.assert(
    fc.property(history, fc.integer({ min: 1, max: 64 }), fc.integer(), (before, threads, seed) => {
      const words = array();
      let finest = 1;
      let flow = 0;
      const flows: [number, number][] = [];
      for (const step of before) {
        const regions = regionsFor(step.threads);
        finest = Math.max(finest, regions);
        for (let n = 0; n < step.flows; n++) {
          const [low, high] = [Math.imul(seed + ++flow, 0x9e3779b1), flow];
          const thread = (low >>> 7) % step.threads;
          flowRegions(words, KEY, { buckets: LEAST_ARRAY_BUCKETS, regions, finest }, thread).own.insert(low, high, flow, 9, true);
          flows.push([low, high]);
        }
      }
      const regions = regionsFor(threads);
      const geometry = { buckets: LEAST_ARRAY_BUCKETS, regions, finest: Math.max(finest, regions) };
      const { own, others } = flowRegions(words, KEY, geometry, threads - 1);
      for (const [low, high] of flows) {
        const seen = [own, ...others].map((table) => table.findForeign(low, high)).filter((id) => id >= 0);
        assert.deepEqual(new Set(seen), new Set(anywhere(words, low, high)));
      }
    }),
    { numRuns: 60 },
  );
});

test('what can be of no flow is cleared: of the future, of a backend that never was', () => {
  const words = array();
  const table = new FlowTable(words.length / 4, KEY, words);
  table.insert(1, 1, 5, 100, true);
  table.insert(2, 1, 5, 101, false);
  table.insert(3, 1, 5, 102, true);
  table.insert(4, 1, 6, 100, true);
  table.insert(5, 1, 0, 100, false);
  assert.deepEqual(table.scrub(101, 6), { entries: 3, confirmed: 1 });
  assert.deepEqual(
    [1, 2, 3, 4, 5].map((low) => table.find(low, 1) >= 0),
    [true, true, false, false, true],
  );
});

test('at whatever store a process is killed, no entry bears the fingerprint of a flow and another’s backend', () => {
  // The four stores of an insertion in their order, over the entry of another flow: after each of them the table is looked at.
  const words = array();
  const table = new FlowTable(words.length / 4, KEY, words);
  for (let high = 1; high <= 4; high++) table.insert(64, high, high, 1, true);
  const before = words.slice();
  assert.ok(table.insert(320, 9, 99, 1000, false));
  const at = table.find(320, 9);
  const order = [at + 1, at + 3, at + 2, at];
  const torn = before.slice();
  for (const place of order) {
    const looking = new FlowTable(words.length / 4, KEY, torn);
    for (let high = 1; high <= 4; high++) assert.ok([-1, high].includes(looking.findForeign(64, high)));
    assert.equal(looking.findForeign(320, 9), -1);
    torn[place] = words[place];
  }
  assert.equal(new FlowTable(words.length / 4, KEY, torn).findForeign(320, 9), 99);
});
