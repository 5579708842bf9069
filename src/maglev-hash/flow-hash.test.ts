import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { referenceSlot, referenceSource6, referenceTuple4, referenceTuple6 } from '../../test/reference/maglev.ts';
import { hashAddresses4, hashAddresses6, hashSource4, hashSource6, hashTuple4, hashTuple6, slotOf } from './flow-hash.ts';

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const byte = fc.integer({ min: 0, max: 255 });

/** 203.0.113.1 → 192.0.2.1, ports 40000 → 443. */
const SOURCE = 0xcb007101 | 0;
const DESTINATION = 0xc0000201 | 0;
const PORTS = (40000 << 16) | 443;

const view6 = new DataView(new ArrayBuffer(40));
for (const [at, last] of [
  [8, 1],
  [24, 2],
]) {
  view6.setInt32(at, 0x20010db8);
  view6.setInt32(at + 12, last);
}

/** A release must not change these: it would move flows of every user. */
test('golden vectors', () => {
  assert.deepEqual(
    {
      tcp4: hashTuple4(SOURCE, DESTINATION, PORTS, 6),
      udp4: hashTuple4(SOURCE, DESTINATION, PORTS, 17),
      zero4: hashTuple4(0, 0, 0, 0),
      addresses4: hashAddresses4(SOURCE, DESTINATION, 6),
      source4: hashSource4(SOURCE),
      tcp6: hashTuple6(view6, 8, 24, PORTS, 6),
      addresses6: hashAddresses6(view6, 8, 24, 17),
      source6: hashSource6(view6, 8),
      slots: [0, 1, -1, 0x12345678].map((hash) => slotOf(hash, 1, 65537)),
      seeds: [0, 2, 0xffffffff].map((seed) => slotOf(0x12345678, seed, 65537)),
    },
    {
      tcp4: -380141616,
      udp4: 159562998,
      zero4: -1479132293,
      addresses4: 1098453136,
      source4: 913444525,
      tcp6: 1283718251,
      addresses6: -1928405332,
      source6: -2130953120,
      slots: [26761, 0, 38817, 16247],
      seeds: [62952, 60839, 6169],
    },
  );
});

test('equal the reference twin', () => {
  const view = new DataView(new ArrayBuffer(48));
  fc.assert(
    fc.property(fc.array(int32, { minLength: 12, maxLength: 12 }), int32, byte, (words, ports, protocol) => {
      words.forEach((word, i) => {
        view.setInt32(4 * i, word);
      });
      assert.equal(hashTuple4(words[0], words[1], ports, protocol), referenceTuple4(words[0], words[1], ports, protocol));
      assert.equal(hashAddresses4(words[0], words[1], protocol), referenceTuple4(words[0], words[1], 0, protocol));
      assert.equal(hashSource4(words[0]), referenceTuple4(words[0], 0, 0, 0));
      const source = words.slice(2, 6);
      const destination = words.slice(7, 11);
      assert.equal(hashTuple6(view, 8, 28, ports, protocol), referenceTuple6(source, destination, ports, protocol));
      assert.equal(hashAddresses6(view, 8, 28, protocol), referenceTuple6(source, destination, 0, protocol));
      assert.equal(hashSource6(view, 8), referenceSource6(source));
      for (const size of [2, 251, 65537, 655373]) {
        assert.equal(slotOf(words[0], words[1], size), referenceSlot(words[0], words[1], size));
        assert.equal(slotOf(words[0], words[1] >>> 0, size), referenceSlot(words[0], words[1], size));
      }
    }),
    { numRuns: 300 },
  );
});

/** Chi-square of `hashes` over the slots of a table, as deviations from its expectation (standard normal for a random hash). */
function deviation(hashes: Iterable<number>, seed = 1, size = 1021): number {
  const counts = new Uint32Array(size);
  let total = 0;
  for (const hash of hashes) {
    counts[slotOf(hash, seed, size)]++;
    total++;
  }
  const mean = total / size;
  let chi = 0;
  for (const count of counts) chi += (count - mean) ** 2 / mean;
  return (chi - (size - 1)) / Math.sqrt(2 * (size - 1));
}

const range = (n: number, hash: (i: number) => number) => Array.from({ length: n }, (_, i) => hash(i));

test('slots are uniform over the patterns that traffic has', () => {
  const wide = new DataView(new ArrayBuffer(32));
  const v6 = (at: number, value: number) => {
    wide.setInt32(0, 0x20010db8);
    wide.setInt32(4, 0);
    wide.setInt32(8, 0);
    wide.setInt32(12, 0);
    wide.setInt32(at, value);
    return wide;
  };
  const patterns: Record<string, number[]> = {
    'source ports': range(65536, (i) => hashTuple4(SOURCE, DESTINATION, (i << 16) | 443, 6)),
    'even source ports': range(32768, (i) => hashTuple4(SOURCE, DESTINATION, (i << 17) | 443, 6)),
    'destination ports': range(65536, (i) => hashTuple4(SOURCE, DESTINATION, (40000 << 16) | i, 6)),
    'source addresses': range(65536, (i) => hashTuple4((SOURCE & 0xffff0000) + i, DESTINATION, PORTS, 6)),
    'networks of source addresses': range(65536, (i) => hashTuple4((i << 16) | 1, DESTINATION, PORTS, 6)),
    'destination addresses': range(65536, (i) => hashTuple4(SOURCE, (DESTINATION & 0xffff0000) + i, PORTS, 6)),
    'addresses and ports in step': range(65536, (i) => hashTuple4((10 << 24) + i, DESTINATION, ((1024 + i) << 16) | 443, 6)),
    'source addresses alone': range(65536, (i) => hashSource4((10 << 24) + i)),
    'address pairs': range(65536, (i) => hashAddresses4((10 << 24) + (i >> 8), DESTINATION + (i & 0xff), 6)),
    'IPv6 interface identifiers': range(65536, (i) => hashTuple6(v6(12, i), 0, 16, PORTS, 6)),
    'IPv6 source equal to destination': range(65536, (i) => hashTuple6(v6(12, i), 0, 0, PORTS, 6)),
    'IPv6 networks': range(65536, (i) => hashTuple6(v6(4, i << 8), 0, 16, PORTS, 6)),
    'IPv6 ports': range(65536, (i) => hashTuple6(v6(4, 1), 0, 16, (i << 16) | 443, 17)),
    'IPv6 sources alone': range(65536, (i) => hashSource6(v6(4, i), 0)),
  };
  for (const [name, hashes] of Object.entries(patterns)) {
    for (const seed of [0, 1, 0x9e3779b9]) {
      const z = deviation(hashes, seed);
      assert.ok(Math.abs(z) < 5, `${name}, seed ${seed}: ${z.toFixed(1)} standard deviations`);
    }
    // The low bits choose the outer source port: as uniform, and independent of the slot.
    const low = new Uint32Array(64);
    for (const hash of hashes) low[hash & 63]++;
    const mean = hashes.length / 64;
    const z = (low.reduce((chi, count) => chi + (count - mean) ** 2 / mean, 0) - 63) / Math.sqrt(126);
    assert.ok(Math.abs(z) < 5, `low bits, ${name}: ${z.toFixed(1)}`);
  }
});

test('one slot of a small pool still sees every low bit pattern equally: source ports stay spread behind a slot', () => {
  const low = new Uint32Array(64);
  let total = 0;
  for (let i = 0; i < 400_000; i++) {
    const hash = hashTuple4((10 << 24) + i, DESTINATION, PORTS, 6);
    if (slotOf(hash, 1, 7) !== 3) continue;
    low[hash & 63]++;
    total++;
  }
  const mean = total / 64;
  const z = (low.reduce((chi, count) => chi + (count - mean) ** 2 / mean, 0) - 63) / Math.sqrt(126);
  assert.ok(Math.abs(z) < 5, z.toFixed(1));
});

test('pools with different seeds choose independently', () => {
  const hashes = range(131072, (i) => hashTuple4((10 << 24) + i, DESTINATION, PORTS, 6));
  for (const [a, b] of [
    [0, 1],
    [1, 2],
    [1, 0x80000001],
  ]) {
    const pairs = new Uint32Array(31 * 31);
    for (const hash of hashes) pairs[slotOf(hash, a, 31) * 31 + slotOf(hash, b, 31)]++;
    const mean = hashes.length / pairs.length;
    const z =
      (pairs.reduce((chi, n) => chi + (n - mean) ** 2 / mean, 0) - (pairs.length - 1)) / Math.sqrt(2 * (pairs.length - 1));
    assert.ok(Math.abs(z) < 5, `seeds ${a} and ${b}: ${z.toFixed(1)}`);
  }
});

/** Worst distance from one half of the probability that flipping input bit `i` flips output bit `o`. */
function worstAvalanche(inputs: number, hash: (words: Int32Array) => number): number {
  const words = new Int32Array(inputs);
  const samples = 2048;
  let state = 1;
  let worst = 0;
  for (let bit = 0; bit < 32 * inputs; bit++) {
    const flips = new Uint32Array(32);
    for (let n = 0; n < samples; n++) {
      for (let w = 0; w < inputs; w++) {
        // A linear congruential generator with its low bits dropped: inputs only have to be varied.
        state = (Math.imul(state, 1664525) + 1013904223) | 0;
        words[w] = state ^ (state >>> 15);
      }
      const before = hash(words);
      words[bit >> 5] ^= 1 << (bit & 31);
      const changed = before ^ hash(words);
      for (let o = 0; o < 32; o++) flips[o] += (changed >>> o) & 1;
    }
    for (const count of flips) worst = Math.max(worst, Math.abs(count / samples - 0.5));
  }
  return worst;
}

test('avalanche: any input bit flips any output bit about half of the time', () => {
  const wide = new DataView(new ArrayBuffer(32));
  const tuple6 = (words: Int32Array) => {
    for (let i = 0; i < 8; i++) wide.setInt32(4 * i, words[i]);
    return hashTuple6(wide, 0, 16, words[8], 6);
  };
  // Four standard deviations of 2,048 samples are 0.044; over thousands of pairs a random function's worst is about that.
  assert.ok(worstAvalanche(3, (w) => hashTuple4(w[0], w[1], w[2], 6)) < 0.07);
  assert.ok(worstAvalanche(9, tuple6) < 0.07);
  // slotOf's mixing, seen through a table of 2^20 − 3 slots, is covered by the chi-square tests above.
});

test('flows that differ in one word never collide', () => {
  const seen = new Set<number>();
  for (let i = 0; i < 65536; i++) seen.add(hashTuple4(SOURCE, DESTINATION, (i << 16) | 443, 6));
  assert.equal(seen.size, 65536);
});
