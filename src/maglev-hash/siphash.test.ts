import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { sipHash, sipKey } from './siphash.ts';

const MASK = (1n << 64n) - 1n;

/** The paper's definition, in 64-bit integers. */
function slow(key: Uint8Array, message: Uint8Array, c: number, d: number): bigint {
  const word = (bytes: Uint8Array, at: number) => {
    let value = 0n;
    for (let k = 7; k >= 0; k--) value = (value << 8n) | BigInt(bytes[at + k] ?? 0);
    return value;
  };
  const turn = (x: bigint, by: bigint) => ((x << by) | (x >> (64n - by))) & MASK;
  const [k0, k1] = [word(key, 0), word(key, 8)];
  let v0 = k0 ^ 0x736f6d6570736575n;
  let v1 = k1 ^ 0x646f72616e646f6dn;
  let v2 = k0 ^ 0x6c7967656e657261n;
  let v3 = k1 ^ 0x7465646279746573n;
  const rounds = (count: number) => {
    for (let k = 0; k < count; k++) {
      v0 = (v0 + v1) & MASK;
      v1 = turn(v1, 13n) ^ v0;
      v0 = turn(v0, 32n);
      v2 = (v2 + v3) & MASK;
      v3 = turn(v3, 16n) ^ v2;
      v0 = (v0 + v3) & MASK;
      v3 = turn(v3, 21n) ^ v0;
      v2 = (v2 + v1) & MASK;
      v1 = turn(v1, 17n) ^ v2;
      v2 = turn(v2, 32n);
    }
  };
  const blocks = (message.length >> 3) + 1;
  for (let k = 0; k < blocks; k++) {
    const value = word(message, 8 * k) | (k === blocks - 1 ? (BigInt(message.length) & 0xffn) << 56n : 0n);
    v3 ^= value;
    rounds(c);
    v0 ^= value;
  }
  v2 ^= 0xffn;
  rounds(d);
  return v0 ^ v1 ^ v2 ^ v3;
}

function fast(key: Uint8Array, message: Uint8Array, c: number, d: number): bigint {
  const words = new Int32Array(2 * ((message.length >> 3) + 1));
  new Uint8Array(words.buffer).set(message);
  const out = new Int32Array(2);
  sipHash(sipKey(key), words, message.length, c, d, out);
  return (BigInt(out[1] >>> 0) << 32n) | BigInt(out[0] >>> 0);
}

test('the vector of the paper: key 00…0f, message 00…0e', () => {
  const count = (length: number) => Uint8Array.from({ length }, (_, k) => k);
  assert.equal(fast(count(16), count(15), 2, 4), 0xa129ca6149be45e5n);
});

test('equals the definition for every length and both kinds', () => {
  const bytes = (constraints: fc.IntArrayConstraints) => fc.uint8Array(constraints);
  fc.assert(
    fc.property(bytes({ minLength: 16, maxLength: 16 }), bytes({ maxLength: 40 }), fc.boolean(), (key, message, kernel) => {
      const [c, d] = kernel ? [1, 3] : [2, 4];
      assert.equal(fast(key, message, c, d), slow(key, message, c, d));
    }),
    { numRuns: 500 },
  );
});

test('a key of another length is refused', () => {
  assert.throws(() => sipKey(new Uint8Array(15)), /16 bytes, not 15/);
});
