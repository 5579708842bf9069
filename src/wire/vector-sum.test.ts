import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from '../../test/property.ts';
import { naiveSum } from '../../test/reference/checksum.ts';
import { forgetVectors, sum, useVectors } from './checksum.ts';
import { createVectorMemory, type RangeSum } from './vector-sum.ts';

const BYTES = 200_000;
const memory = createVectorMemory(BYTES);
assert.ok(memory !== null, 'every engine that we run on has vectors');
const { buffer } = memory;
const bytes = new Uint8Array(buffer);
const view = new DataView(buffer, 0, BYTES);
/** How often the vectors were asked: else these tests would be satisfied by the loop. */
let asked = 0;
const counted: RangeSum = (at, length) => {
  asked++;
  return memory.sum(at, length);
};
useVectors(view, counted);
after(() => forgetVectors(buffer));

let state = 7;
for (let i = 0; i < BYTES; i++) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  bytes[i] = state;
}

test('the vectors’ sum equals the byte-wise reference for every length to 2,100 and every alignment to 16', () => {
  asked = 0;
  for (let at = 0; at < 16; at++) {
    for (let length = 0; length <= 2100; length += at === 0 ? 1 : 7) {
      const fast = sum(view, at, length, 0);
      const slow = naiveSum(bytes, at, length, 0);
      if (fast !== slow) assert.fail(`at ${at} length ${length}: ${fast.toString(16)}, reference ${slow.toString(16)}`);
    }
  }
  assert.ok(asked > 5_000);
});

test('any range, any initial partial: vectors, loop and reference agree', () => {
  const plain = new DataView(buffer, 0, BYTES);
  const range = fc.tuple(fc.nat(BYTES - 70_000), fc.nat(70_000), fc.nat(0x7fffffff));
  fc.assert(
    fc.property(range, ([at, length, initial]) => {
      const fast = sum(view, at, length, initial);
      assert.equal(fast, sum(plain, at, length, initial));
      assert.equal(fast, naiveSum(bytes, at, length, initial));
    }),
    { numRuns: 300 },
  );
});

test('all ones at the largest lengths: no lane and no sum overflows', () => {
  const ones = createVectorMemory(140_000)!;
  const all = new Uint8Array(ones.buffer).fill(0xff);
  const onesView = new DataView(ones.buffer);
  useVectors(onesView, ones.sum);
  for (const length of [64, 65_534, 65_535, 65_536, 65_537, 131_073]) {
    assert.equal(sum(onesView, 1, length, 0x7fffffff), naiveSum(all, 1, length, 0x7fffffff), `${length} ones`);
  }
  useVectors(view, counted);
});

test('a range outside the memory is an error, never a read', () => {
  assert.throws(() => memory.sum(bytes.length - 100, 101), /out of bounds/);
});

test('forgetting another memory changes nothing; forgetting this one brings the loop back', () => {
  const of = () => {
    asked = 0;
    sum(view, 0, 1448, 0);
    return asked;
  };
  forgetVectors(new ArrayBuffer(8));
  assert.equal(of(), 1);
  forgetVectors(buffer);
  assert.equal(of(), 0);
  useVectors(view, counted);
});
