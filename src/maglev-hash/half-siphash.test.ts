import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { referenceHalfSipHash } from '../../test/reference/maglev.ts';
import { fingerprints } from './half-siphash.ts';

const KEY: [number, number] = [0x03020100, 0x07060504];
const counting = (length: number) => Uint8Array.from({ length }, (_, i) => i);
const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const byte = fc.integer({ min: 0, max: 255 });

test('the twin reproduces the published HalfSipHash-2-4 64-bit vectors (veorq/SipHash, vectors.h)', () => {
  const vectors: [number, string][] = [
    [0, '218d1f59b9b83cc8'],
    [1, 'be552412f8387315'],
    [2, '064f39ef7c50eb57'],
    [3, 'ce0f1a45f7060679'],
    [4, 'd5e78a175be52ea1'],
    [5, 'cb9d7c3f2f3db580'],
    [62, 'f90b3ab572d46693'],
    [63, '2ea63c71bf326087'],
  ];
  for (const [length, expected] of vectors) {
    const output = Buffer.alloc(8);
    const [first, second] = referenceHalfSipHash(KEY, counting(length), { c: 2, d: 4, words: 2 });
    output.writeInt32LE(first, 0);
    output.writeInt32LE(second, 4);
    assert.equal(output.toString('hex'), expected, `length ${length}`);
  }
});

test('the twin reproduces the HalfSipHash-1-3 32-bit vectors of the Linux kernel (lib/test_siphash.c)', () => {
  const vectors: [number, number][] = [
    [0, 0x5814c896],
    [1, 0xe7e864ca],
    [2, 0xbc4b0e30],
    [3, 0x01539939],
    [4, 0x7e059ea6],
    [12, 0x6b28096c],
    [13, 0x66dd9cd6],
    [16, 0x8b31d501],
    [36, 0x7c46fb7f],
    [37, 0x732ba8cb],
    [63, 0x87178304],
  ];
  for (const [length, expected] of vectors) {
    const [output] = referenceHalfSipHash(KEY, counting(length), { c: 1, d: 3, words: 1 });
    assert.equal(output >>> 0, expected, `length ${length}`);
  }
});

/** Words little-endian, the protocol as last byte. */
function message(words: readonly number[], protocol: number): Uint8Array {
  const bytes = Buffer.alloc(4 * words.length + 1, protocol);
  words.forEach((word, i) => {
    bytes.writeInt32LE(word, 4 * i);
  });
  return bytes;
}

const low = new Int32Array(4);
const high = new Int32Array(4);

test('tuple4 is HalfSipHash-1-3 of 13 bytes: its output, and the other half of its final state', () => {
  fc.assert(
    fc.property(word, word, word, word, word, byte, (k0, k1, source, destination, ports, protocol) => {
      fingerprints(k0, k1, low, high).tuple4(source, destination, ports, protocol, 2);
      const bytes = message([source, destination, ports], protocol);
      const expected = referenceHalfSipHash([k0, k1], bytes, { c: 1, d: 3, words: 1, rest: true });
      assert.deepEqual([low[2], high[2]], expected);
    }),
    { numRuns: 300 },
  );
});

test('tuple6 is HalfSipHash-1-3 of 37 bytes: its output, and the other half of its final state', () => {
  const addresses = fc.uint8Array({ minLength: 40, maxLength: 40 });
  fc.assert(
    fc.property(word, word, addresses, word, byte, (k0, k1, bytes, ports, protocol) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, 40);
      fingerprints(k0, k1, low, high).tuple6(view, 4, 24, ports, protocol, 1);
      const words = [4, 8, 12, 16, 24, 28, 32, 36].map((at) => view.getInt32(at));
      const expected = referenceHalfSipHash([k0, k1], message([...words, ports], protocol), { c: 1, d: 3, words: 1, rest: true });
      assert.deepEqual([low[1], high[1]], expected);
    }),
    { numRuns: 300 },
  );
});

test('4,096 sequential flows have distinct fingerprints under neighbouring keys', () => {
  for (const [k0, k1] of [
    [1, 2],
    [1, 3],
  ]) {
    const seen = new Set<number>();
    for (let ports = 0; ports < 4096; ports++) {
      fingerprints(k0, k1, low, high).tuple4(0x0a000001, 0x0a000002, ports, 6, 0);
      seen.add((low[0] >>> 0) * 2 ** 20 + (high[0] >>> 12));
    }
    assert.equal(seen.size, 4096);
  }
});
