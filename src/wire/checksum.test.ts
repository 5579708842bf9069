import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { naiveChecksum, naiveSum } from '../../test/reference/checksum.ts';
import {
  combine,
  completePartial,
  finish,
  finishUdp,
  fold,
  pseudoSum4,
  pseudoSum6,
  sum,
  update16,
  update32,
  verifies,
} from './checksum.ts';

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Deterministic bytes (xorshift32), so that a failure can be repeated. */
function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed | 1;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
  return bytes;
}

test("RFC 1071 §3's own example", () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assert.equal(sum(viewOf(bytes), 0, 8, 0), 0xddf2);
  assert.equal(finish(0xddf2), 0x220d);
});

test('the fast sum equals the byte-wise reference for every length to 2,100 and every alignment', () => {
  const bytes = noise(2110, 7);
  const view = viewOf(bytes);
  for (let at = 0; at < 4; at++) {
    for (let length = 0; length <= 2100; length++) {
      const fast = sum(view, at, length, 0);
      const slow = naiveSum(bytes, at, length, 0);
      if (fast !== slow) assert.fail(`at ${at} length ${length}: ${fast.toString(16)}, reference ${slow.toString(16)}`);
    }
  }
});

test('all ones and all zeros: no accumulator overflows, and only zeros sum to 0', () => {
  for (const length of [1, 2, 31, 32, 33, 65535, 65536, 131071, 131072, 131073, 400001]) {
    const ones = new Uint8Array(length).fill(0xff);
    assert.equal(sum(viewOf(ones), 0, length, 0), naiveSum(ones, 0, length, 0), `${length} ones`);
    assert.equal(sum(viewOf(ones), 0, length, 0x7fffffff), naiveSum(ones, 0, length, 0x7fffffff), `${length} ones, initial`);
    assert.equal(sum(viewOf(new Uint8Array(length)), 0, length, 0), 0);
  }
});

test('random ranges of long buffers with random initial partials', () => {
  const bytes = noise(300_000, 99);
  const view = viewOf(bytes);
  const range = fc.tuple(fc.nat(9000), fc.oneof(fc.nat(66_000), fc.nat(280_000)), fc.nat(0x7fffffff));
  fc.assert(
    fc.property(range, ([at, length, initial]) => sum(view, at, length, initial) === naiveSum(bytes, at, length, initial)),
    { numRuns: 60 },
  );
});

test('a range may be summed in even parts: chained, or combined', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), (bytes, cut) => {
      const view = viewOf(bytes);
      const head = Math.min(cut & ~1, bytes.length & ~1);
      const whole = sum(view, 0, bytes.length, 0);
      const chained = sum(view, head, bytes.length - head, sum(view, 0, head, 0));
      return chained === whole && combine(sum(view, 0, head, 0), sum(view, head, bytes.length - head, 0)) === whole;
    }),
  );
});

test('fold takes the whole int32 range, finish complements, UDP never sends 0', () => {
  assert.equal(fold(0), 0);
  assert.equal(fold(0x1ffff), 1);
  assert.equal(fold(0x7fffffff), 0x7fffffff % 0xffff);
  assert.equal(fold(-1), 0xffff);
  assert.equal(finish(0xffff), 0);
  assert.equal(finishUdp(0xffff), 0xffff);
  assert.equal(finishUdp(0xfffe), 1);
  assert.equal(verifies(0x1fffe), true);
  assert.equal(verifies(0x1fffd), false);
});

test('pseudo-header partials equal the reference over the written-out pseudo-header', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.nat(255), fc.nat(65535), (addresses, protocol, length) => {
      const tail4 = [0, protocol, length >> 8, length & 255];
      const tail6 = [0, 0, length >> 8, length & 255, 0, 0, 0, protocol];
      const four = Uint8Array.of(...addresses.subarray(0, 8), ...tail4);
      const six = Uint8Array.of(...addresses, ...tail6);
      const view = viewOf(addresses);
      assert.equal(fold(pseudoSum4(view, 0, protocol, length)), naiveSum(four, 0, 12, 0));
      assert.equal(fold(pseudoSum6(view, 0, protocol, length)), naiveSum(six, 0, 40, 0));
    }),
  );
});

test("RFC 1624 §4's own example", () => {
  // The header word 0x5555 becomes 0x3285; the checksum 0xdd2f becomes 0, not 0xffff.
  assert.equal(update16(0xdd2f, 0x5555, 0x3285), 0x0000);
});

test('incremental updates equal a recomputation', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 8, maxLength: 80 }), fc.nat(), fc.integer(), (bytes, where, value) => {
      bytes[0] = 0x45;
      const view = viewOf(bytes);
      const at = 4 * (1 + (where % ((bytes.length >> 2) - 1)));
      const before = naiveChecksum(bytes, 0, bytes.length);
      const long = view.getInt32(at);
      view.setInt32(at, value);
      assert.equal(update32(before, long, value), naiveChecksum(bytes, 0, bytes.length));
      view.setInt32(at, long);
      const short = view.getUint16(at);
      view.setUint16(at, value & 0xffff);
      assert.equal(update16(before, short, value & 0xffff), naiveChecksum(bytes, 0, bytes.length));
    }),
  );
});

test('completing a partial checksum: sums from start over the seeded field and stores the complement', () => {
  const bytes = noise(200, 3);
  const view = viewOf(bytes);
  // UDP at 40: addresses at 32–40 stand for the IPv4 pseudo-header.
  const seed = fold(pseudoSum4(view, 32, 17, 160));
  view.setUint16(46, seed);
  const reference = Uint8Array.from(bytes);
  assert.equal(completePartial(view, 40, 6, 200), true);
  assert.equal(view.getUint16(46), naiveChecksum(reference, 40, 160) || 0xffff);
  assert.equal(verifies(sum(view, 40, 160, pseudoSum4(view, 32, 17, 160))), true);
  assert.deepEqual(bytes.subarray(0, 46), reference.subarray(0, 46));
  assert.deepEqual(bytes.subarray(48), reference.subarray(48));
});

test('completing stores 0xffff for 0, and refuses a field outside the range', () => {
  const bytes = Uint8Array.of(0xff, 0xfe, 0x00, 0x01);
  assert.equal(completePartial(viewOf(bytes), 0, 2, 4), true);
  assert.deepEqual([...bytes], [0xff, 0xfe, 0xff, 0xff]);
  assert.equal(completePartial(viewOf(bytes), 2, 1, 4), false);
  assert.equal(completePartial(viewOf(bytes), 0, -1, 4), false);
  assert.equal(completePartial(viewOf(bytes), 6, 0, 4), false);
  assert.deepEqual([...bytes], [0xff, 0xfe, 0xff, 0xff]);
});
