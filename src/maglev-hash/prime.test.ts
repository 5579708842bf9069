import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPrime, nextPrime } from './prime.ts';

test('isPrime agrees with the sieve of Eratosthenes up to 100,000', () => {
  const composite = new Uint8Array(100_001);
  for (let n = 2; n <= 100_000; n++) {
    assert.equal(isPrime(n), composite[n] === 0, String(n));
    if (composite[n] === 0) for (let m = n * n; m <= 100_000; m += n) composite[m] = 1;
  }
});

test('what is no natural number above 1 is not prime', () => {
  for (const n of [-7, 0, 1, 2.5, Number.NaN, Number.POSITIVE_INFINITY]) assert.equal(isPrime(n), false);
});

test('the sizes used for tables are prime', () => {
  for (const n of [251, 65521, 65537, 131071, 655373, 1048573]) assert.equal(isPrime(n), true, String(n));
  assert.equal(isPrime(655361 * 3), false);
});

test('nextPrime gives the smallest prime that is not below', () => {
  assert.deepEqual([-5, 2, 3, 4, 65536, 65537, 65538].map(nextPrime), [2, 2, 3, 5, 65537, 65537, 65539]);
});
