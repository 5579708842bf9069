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

test('toward one destination no number comes again before all others have, whatever goes elsewhere', () => {
  for (const threads of [1, 3]) {
    const seen = new Map<number, number>();
    for (let thread = 0; thread < threads; thread++) {
      const identifiers = new Identifiers({ seed: 77_777 - thread, thread, threads });
      for (let n = 0; n < (threads === 1 ? 65_535 : 16_000); n++) {
        const value = identifiers.between4(0x0a000001);
        identifiers.between4(0x0a000002);
        assert.ok(value > 0 && value < 65_536 && !seen.has(value), `${value} by thread ${thread}, ${seen.get(value)}`);
        seen.set(value, thread);
      }
    }
  }
});

test('datagrams in a row have numbers of their own', () => {
  const identifiers = new Identifiers({ seed: 5 });
  const first = identifiers.between4(1, 45);
  assert.equal(identifiers.between4(1), first + 45);
  assert.notEqual(identifiers.between4(2), first + 46);
});
