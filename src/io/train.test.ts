import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { Arena, RECORD_STRIDE, SMALL_STRIDE } from '../base/arena.ts';
import { Batch, LINK_RAW_IP } from '../base/batch.ts';
import { equalSegments } from './train.ts';

const SKIP = 28;

/** A train whose parts have `header` bytes of headers and these payloads; its records begin at the third. */
function trainOf(header: number, payloads: readonly number[]): Batch {
  const facts = { link: LINK_RAW_IP, hopDone: true, canPass: false, headerVerified: true } as const;
  const batch = new Batch(Arena.inProcess(1, SMALL_STRIDE, payloads.length + 2), facts);
  batch.recordAt[0] = batch.arena.recordsAt + 2 * RECORD_STRIDE;
  batch.segmentCount[0] = payloads.length;
  payloads.forEach((bytes, k) => {
    batch.pieceHeader[2 + k] = header;
    batch.pieceLength[2 + k] = bytes;
  });
  return batch;
}

function messagesOf(batch: Batch, most: number, bytes: number): number[] {
  const messages: number[] = [];
  for (let k = 0; k < batch.segmentCount[0]; k += messages[messages.length - 1])
    messages.push(equalSegments(batch, 0, k, SKIP, most, bytes));
  return messages;
}

/** What the kernel can cut back into exactly these datagrams (net/ipv4/udp.c: every `size` bytes, the rest is the last). */
function cutsBack(lengths: readonly number[]): boolean {
  const whole = lengths.reduce((sum, length) => sum + length, 0);
  const cut: number[] = [];
  for (let left = whole; left > 0; left -= lengths[0]) cut.push(Math.min(left, lengths[0]));
  return cut.length === lengths.length && cut.every((length, k) => length === lengths[k]);
}

test('a full super-packet of 1,448-byte segments is two messages', () => {
  const batch = trainOf(
    28 + 4 + 52,
    Array.from({ length: 45 }, () => 1448),
  );
  assert.deepEqual(messagesOf(batch, 64, 65_489), [43, 2]);
  assert.deepEqual(messagesOf(batch, 16, 65_489), [16, 16, 13]);
});

test('a short last segment goes with the whole ones that fill a message', () => {
  assert.deepEqual(messagesOf(trainOf(100, [928, 928, 10]), 64, 2082), [3]);
  assert.deepEqual(messagesOf(trainOf(100, [928, 928, 10]), 64, 2081), [2, 1]);
  assert.deepEqual(messagesOf(trainOf(100, [928, 928, 10]), 2, 9999), [2, 1]);
});

test('a longer part goes by itself', () => {
  assert.deepEqual(messagesOf(trainOf(100, [928, 928, 929]), 64, 65_489), [2, 1]);
  assert.deepEqual(messagesOf(trainOf(100, [40_000, 40_000]), 64, 65_489), [1, 1]);
});

test('any parts: each message is what the kernel cuts back into them, within its limits, and no longer one would be', () => {
  const lengths = fc.oneof(
    fc.array(fc.integer({ min: 0, max: 9000 }), { minLength: 1, maxLength: 200 }),
    fc
      .tuple(fc.integer({ min: 1, max: 9000 }), fc.integer({ min: 1, max: 200 }), fc.integer({ min: 0, max: 9000 }))
      .map(([size, count, last]) => [...Array.from({ length: count }, () => size), last]),
    fc.array(fc.constantFrom(1000, 1000, 1000, 999, 1001), { minLength: 1, maxLength: 200 }),
  );
  fc.assert(
    fc.property(lengths, fc.integer({ min: 1, max: 128 }), fc.integer({ min: 10_000, max: 65_507 }), (payloads, most, bytes) => {
      const header = 84;
      const wire = payloads.map((payload) => payload + header - SKIP);
      let k = 0;
      for (const count of messagesOf(trainOf(header, payloads), most, bytes)) {
        const fits = (n: number): boolean => {
          const part = wire.slice(k, k + n);
          return part.length === n && n <= most && part.reduce((sum, length) => sum + length, 0) <= bytes && cutsBack(part);
        };
        assert.ok(count >= 1 && fits(count), `${count} from ${k}`);
        assert.ok(!fits(count + 1), `${count + 1} from ${k} would fit`);
        k += count;
      }
      assert.equal(k, payloads.length);
    }),
    { numRuns: 300 },
  );
});
