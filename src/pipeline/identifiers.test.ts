import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Identifiers } from './identifiers.ts';

test('one thread gives every IPv4 identification but 0 before one comes again', () => {
  const identifiers = new Identifiers({ seed: 0x7ffffff0 });
  const seen = new Set<number>();
  for (let n = 0; n < 65_535; n++) {
    const value = identifiers.next4();
    assert.ok(value > 0 && value < 65_536);
    seen.add(value);
  }
  assert.equal(seen.size, 65_535);
});

test('threads never give the same, whatever they begin with', () => {
  const seen = new Map<number, number>();
  for (const thread of [0, 1, 2]) {
    const identifiers = new Identifiers({ seed: 1234 * thread - 99_999, thread, threads: 3 });
    for (let n = 0; n < 40_000; n++) {
      const value = identifiers.next4();
      assert.notEqual(value, 0);
      assert.equal(seen.get(value) ?? thread, thread);
      seen.set(value, thread);
    }
  }
  assert.equal(seen.size, 3 * 16_384 - 1);
});

test('IPv6 has 32 bits', () => {
  const identifiers = new Identifiers({ seed: -3, thread: 1, threads: 2 });
  assert.deepEqual([identifiers.next6(), identifiers.next6(), identifiers.next6()], [-1, 1, 3]);
});
