import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet } from '../../test/builder/packet.ts';
import fc from '../../test/property.ts';
import { REPLY_RATE, ReplyRate, replyKey } from './reply-rate.ts';

const KEY = 0xc0000201 | 0;

/** Answers allowed of `wanted` asked for in one second. */
function allowed(rate: ReplyRate, key: number, now: number, wanted: number): number {
  let count = 0;
  for (let i = 0; i < wanted; i++) if (rate.allow(key, now)) count++;
  return count;
}

test('a destination has its burst, then its rate', () => {
  const rate = new ReplyRate({ destinationPerSecond: 3, destinationBurst: 10 });
  assert.equal(allowed(rate, KEY, 100, 50), 10);
  assert.equal(allowed(rate, KEY, 101, 50), 3);
  assert.equal(allowed(rate, KEY, 103, 50), 6);
  assert.equal(allowed(rate, KEY, 1_000_000, 50), 10, 'a long silence fills it, and no more');
  assert.equal(rate.suppressedByDestination, 200 - 29);
  assert.equal(rate.suppressed, 0);
});

test('one destination does not use up what is there for all', () => {
  const rate = new ReplyRate({ perSecond: 20, burst: 20, destinationPerSecond: 5, destinationBurst: 5 });
  assert.equal(allowed(rate, KEY, 0, 10_000), 5);
  const others = [1, 2, 3, 4].map((key) => allowed(rate, key, 0, 100));
  assert.deepEqual(others, [5, 5, 5, 0]);
  // An answer refused for all was not charged to its destination.
  assert.equal(rate.suppressed, 100);
  assert.equal(allowed(rate, 4, 1, 100), 5);
});

test('by default a flood from everywhere gets the rate of Linux, 1,000 a second', () => {
  const rate = new ReplyRate();
  for (let now = 0; now < 5; now++) {
    let count = 0;
    for (let i = 0; i < 5000; i++) if (rate.allow(Math.imul(i, 0x9e3779b1), now)) count++;
    assert.equal(count, REPLY_RATE.perSecond);
  }
  assert.equal(rate.suppressed + rate.suppressedByDestination, 5 * 4000);
});

test('a clock that steps back fills nothing and stops nothing for long', () => {
  const rate = new ReplyRate({ destinationPerSecond: 2, destinationBurst: 2 });
  assert.equal(allowed(rate, KEY, 1000, 5), 2);
  assert.equal(allowed(rate, KEY, 10, 5), 0);
  assert.equal(allowed(rate, KEY, 11, 5), 2);
});

test('never more than burst + rate × seconds, never less than the bucket has', () => {
  const runs = fc.array(fc.record({ pause: fc.integer({ min: 0, max: 20 }), wanted: fc.integer({ min: 0, max: 30 }) }), {
    maxLength: 40,
  });
  const rates = fc.record({ rate: fc.integer({ min: 1, max: 9 }), burst: fc.integer({ min: 1, max: 40 }) });
  fc.assert(
    fc.property(runs, rates, fc.integer(), (steps, { rate, burst }, seed) => {
      const limiter = new ReplyRate({ destinationPerSecond: rate, destinationBurst: burst, seed });
      let now = 0;
      let tokens = burst;
      for (const { pause, wanted } of steps) {
        now += pause;
        tokens = Math.min(burst, tokens + pause * rate);
        const expected = Math.min(tokens, wanted);
        assert.equal(allowed(limiter, KEY, now, wanted), expected);
        tokens -= expected;
      }
    }),
    { numRuns: 200 },
  );
});

test('destinations spread over the buckets, differently for each seed', () => {
  const shared = (seed: number) => {
    const rate = new ReplyRate({
      destinationPerSecond: 1,
      destinationBurst: 1,
      perSecond: 9999,
      burst: 9999,
      buckets: 1024,
      seed,
    });
    return Array.from({ length: 256 }, (_, i) => rate.allow(KEY + i, 0)).filter((ok) => !ok).length;
  };
  const collisions = Array.from({ length: 20 }, (_, seed) => shared(seed * 7919));
  const mean = collisions.reduce((sum, count) => sum + count, 0) / 20;
  // 256 balls in 1,024 bins: 29 expected to find theirs taken.
  assert.ok(mean > 20 && mean < 40, `${mean}`);
  assert.ok(new Set(collisions).size > 3);
});

test('the key is the client: an IPv4 address, an IPv6 /64', () => {
  const key = (bytes: Uint8Array) => replyKey(new DataView(bytes.buffer), 0, bytes[0] >> 4);
  const from4 = (src: string) => key(packet().ipv4({ src }).udp().bytes());
  const from6 = (src: string) => key(packet().ipv6({ src }).udp().bytes());
  assert.equal(from4('192.0.2.1'), KEY);
  assert.equal(from6('2001:db8:1:2::1'), from6('2001:db8:1:2:3:4:5:6'));
  const keys = ['2001:db8:1:2::1', '2001:db8:1:3::1', '2001:db8:2:2::1', '2001:db9:1:2::1', '1:2:2001:db8::1'].map(from6);
  assert.equal(new Set(keys).size, keys.length);
});

test('impossible rates and tables are refused', () => {
  assert.throws(() => new ReplyRate({ perSecond: 0 }), RangeError);
  assert.throws(() => new ReplyRate({ destinationBurst: 65_536 }), RangeError);
  assert.throws(() => new ReplyRate({ burst: 1.5 }), RangeError);
  assert.throws(() => new ReplyRate({ buckets: 1000 }), RangeError);
});
