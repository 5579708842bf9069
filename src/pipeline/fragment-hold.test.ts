import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { Arena, HEADROOM } from '../base/arena.ts';
import { Batch, LINK_RAW_IP } from '../base/batch.ts';
import { FragmentHold } from './fragment-hold.ts';
import { FragmentTable } from './fragment-table.ts';

const FACTS = { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true } as const;

function batchOf(capacity = 4): Batch {
  return new Batch(Arena.inProcess(capacity, 2112), FACTS);
}

/** A frame of `length` bytes, told from others by `mark`, in slot 0; from source 10.0.0.`source`. */
function load(batch: Batch, mark: number, length: number, source = 1): void {
  const at = batch.frameAt[0];
  batch.arena.bytes.fill(mark & 0xff, at, at + length);
  batch.arena.bytes.set([10, 0, 0, source], at + 12);
  batch.frameLength[0] = length;
  batch.networkAt[0] = at;
  batch.family[0] = 4;
}

test('what is held comes back byte for byte, in any order, and the bound holds: against a Map', () => {
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('add' as const),
        key: fc.nat({ max: 9 }),
        length: fc.integer({ min: 20, max: 700 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('wake' as const), key: fc.nat({ max: 9 }), length: fc.constant(0) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('release' as const), key: fc.constant(0), length: fc.constant(0) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const hold = new FragmentHold({ bytes: 4096, frames: 16, perSource: 1000 });
      const batch = batchOf(3);
      const waiting = new Map<number, { key: number; length: number }>();
      const woken = new Set<number>();
      let number = 0;
      hold.onLost = (gone) => {
        assert.ok(waiting.delete(gone), 'only what waits can be lost');
      };
      const release = () => {
        const count = hold.release(batch);
        for (let i = 0; i < count; i++) {
          const which = hold.numbers[i];
          assert.ok(woken.delete(which));
          const { length } = waiting.get(which) as { length: number };
          waiting.delete(which);
          assert.equal(batch.frameLength[i], length);
          assert.equal(batch.frameAt[i], batch.slotAt[i] + HEADROOM);
          const bytes = batch.arena.bytes.subarray(batch.frameAt[i], batch.frameAt[i] + length);
          assert.ok(
            bytes.subarray(16).every((byte) => byte === (which & 0xff)),
            `frame ${which} came back changed`,
          );
        }
        return count;
      };
      for (const { kind, key, length } of steps) {
        if (kind === 'add') {
          load(batch, number, length);
          if (hold.add(batch, 0, key, key, 0)) waiting.set(number++, { key, length });
          else assert.ok(woken.size > 0, 'refused although nothing was woken');
        } else if (kind === 'wake') {
          hold.wake(key, key);
          for (const [which, held] of waiting) if (held.key === key) woken.add(which);
        } else release();
        assert.equal(hold.waiting, waiting.size);
        assert.ok(hold.waiting <= 16);
        assert.ok([...waiting.values()].reduce((sum, held) => sum + held.length, 0) <= 4096);
        assert.equal(hold.hasReady, woken.size > 0);
      }
      for (let key = 0; key < 10; key++) hold.wake(key, key);
      for (const which of waiting.keys()) woken.add(which);
      while (release() > 0);
      assert.equal(hold.waiting, 0);
      assert.equal(waiting.size, 0);
    }),
    { numRuns: 500 },
  );
});

test('one source gets no more than its share; another one still does', () => {
  const hold = new FragmentHold({ frames: 64, perSource: 3 });
  const batch = batchOf();
  load(batch, 0, 100);
  assert.deepEqual(
    [1, 2, 3, 4].map((key) => hold.add(batch, 0, key, key, 0)),
    [true, true, true, false],
  );
  load(batch, 0, 100, 2);
  assert.equal(hold.add(batch, 0, 9, 9, 0), true);
  hold.wake(1, 1);
  assert.equal(hold.release(batch), 1);
  load(batch, 0, 100);
  assert.equal(hold.add(batch, 0, 5, 5, 0), true, 'a place of its share is free again');
});

test('the timeout lets go what waited too long, the oldest first', () => {
  const hold = new FragmentHold({ frames: 64, timeout: 2 });
  const batch = batchOf();
  const lost: [number, boolean][] = [];
  hold.onLost = (number, timedOut) => lost.push([number, timedOut]);
  for (let k = 0; k < 3; k++) {
    load(batch, k, 100);
    hold.add(batch, 0, k, k, 10 + k);
  }
  hold.expire(12);
  assert.deepEqual(lost, []);
  hold.expire(14);
  assert.deepEqual(lost, [
    [0, true],
    [1, true],
  ]);
  assert.deepEqual([hold.waiting, hold.lost, hold.lostBytes], [1, 2, 200]);
});

test('another thread’s first fragment is found, also while new ones keep coming', () => {
  const other = new FragmentTable(64, Int32Array.of(1, 2), 5);
  const hold = new FragmentHold({ frames: 1024, perSource: 1024 });
  const batch = batchOf();
  load(batch, 0, 100);
  hold.add(batch, 0, 77, 77, 0);
  hold.poll([other], 0);
  assert.equal(hold.hasReady, false);
  const at = other.insert(77, 77, 0);
  other.assign(at, 1, true, 53, 17, 0, 0);
  for (let k = 0; k < 8 && !hold.hasReady; k++) {
    load(batch, 1, 100);
    hold.add(batch, 0, 1000 + k, 0, 0);
    hold.poll([other], 0);
  }
  assert.equal(hold.release(batch), 1);
  assert.equal(batch.arena.bytes[batch.frameAt[0] + 20], 0);
});
