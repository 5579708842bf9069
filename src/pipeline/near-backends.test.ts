import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arena, SMALL_STRIDE } from '../base/arena.ts';
import {
  B_FAMILY,
  B_POOL,
  B_STATE,
  BACKEND_WORDS,
  H_BACKEND_LIMIT,
  H_BACKENDS,
  HEADER_WORDS,
  STATE_DOWN,
  STATE_DRAINING,
  STATE_SERVING,
} from './layout.ts';
import { NEAR_PLACE, nearBackends } from './near-backends.ts';

/** A snapshot's words with so many backends of pool 3 and nothing else; `family` marks whose records these are. */
function snapshotOf(backends: number, family: number): Int32Array {
  const words = new Int32Array(HEADER_WORDS + backends * BACKEND_WORDS);
  words[H_BACKENDS] = HEADER_WORDS;
  words[H_BACKEND_LIMIT] = backends;
  for (let id = 0; id < backends; id++) {
    const at = HEADER_WORDS + id * BACKEND_WORDS;
    words.fill(id, at, at + BACKEND_WORDS);
    words[at + B_POOL] = 3;
    words[at + B_STATE] = STATE_SERVING;
    words[at + B_FAMILY] = family;
  }
  return words;
}

test('backends that share a place take turns, each with its own record', () => {
  const near = nearBackends(Arena.inProcess(1, SMALL_STRIDE));
  const snapshot = snapshotOf(NEAR_PLACE + 10, 4);
  near.follow(snapshot);
  for (const id of [5, 5 + NEAR_PLACE + 1, 5]) {
    const place = id & NEAR_PLACE;
    assert.notEqual(near.ids[place], id);
    assert.equal(near.fetch(snapshot, id), true);
    assert.equal(near.ids[place], id);
    const from = HEADER_WORDS + id * BACKEND_WORDS;
    const record = near.words.subarray(place * BACKEND_WORDS, (place + 1) * BACKEND_WORDS);
    assert.deepEqual([...record], [...snapshot.subarray(from, from + BACKEND_WORDS)]);
  }
});

test('another snapshot forgets all records, the same one none', () => {
  const near = nearBackends(Arena.inProcess(1, SMALL_STRIDE));
  const [first, second] = [snapshotOf(4, 4), snapshotOf(4, 6)];
  near.follow(first);
  near.fetch(first, 2);
  near.follow(first);
  assert.equal(near.ids[2], 2);
  near.follow(second);
  assert.notEqual(near.ids[2], 2);
  near.fetch(second, 2);
  assert.equal(near.words[2 * BACKEND_WORDS + B_FAMILY], 6);
});

test('what is no backend of the snapshot has no place, −1 neither; only who serves or drains has a pool', () => {
  const near = nearBackends(Arena.inProcess(1, SMALL_STRIDE));
  const snapshot = snapshotOf(4, 4);
  near.follow(snapshot);
  for (const id of [-1, 4, 1 << 20]) {
    assert.notEqual(near.ids[id & NEAR_PLACE], id);
    assert.equal(near.fetch(snapshot, id), false);
    assert.notEqual(near.ids[id & NEAR_PLACE], id);
  }
  [STATE_SERVING, STATE_DRAINING, STATE_DOWN].forEach((state, id) => {
    snapshot[HEADER_WORDS + id * BACKEND_WORDS + B_STATE] = state;
    near.fetch(snapshot, id);
    assert.equal(near.words[id * BACKEND_WORDS + B_POOL], state === STATE_DOWN ? -1 : 3);
  });
});
