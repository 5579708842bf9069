import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { elapsedMicroseconds } from '../base/clock.ts';
import { boottimeClock } from './clock.ts';

test('CPU time of the calling thread: work counts, waiting does not', async () => {
  const clock = boottimeClock();
  // What a virtual machine's host took away in the middle of work counts as the thread's, and a runner loads its files meanwhile: the least of several.
  let least = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 5; attempt++) {
    const begin = clock.threadCpuSeconds();
    const started = clock.milliseconds();
    await sleep(100);
    least = Math.min(least, clock.threadCpuSeconds() - begin);
    assert.ok(clock.milliseconds() - started >= 95);
  }
  assert.ok(least < 0.05, `${least} s of CPU time asleep`);
  const begin = clock.threadCpuSeconds();
  const seen = new Set<number>();
  while (clock.threadCpuSeconds() - begin < 0.05) seen.add(clock.threadCpuSeconds());
  assert.ok(seen.size > 3, `it is no clock of whole seconds: ${[...seen].join(', ')}`);
  const used = clock.threadCpuSeconds();
  const { user, system } = process.cpuUsage();
  // getrusage may count in ticks of the kernel, a hundredth of a second.
  assert.ok(used <= (user + system) / 1e6 + 0.05, `${used} s, of ${(user + system) / 1e6} of the process`);
});

test('seconds and milliseconds are of one clock', () => {
  const clock = boottimeClock();
  const [before, milliseconds, after] = [clock.seconds(), clock.milliseconds(), clock.seconds()];
  assert.ok(before * 1000 <= milliseconds && milliseconds < (after + 1) * 1000);
});

test('microseconds are of the same clock, whole, and begin at 0 again after 1,000 seconds', () => {
  const clock = boottimeClock();
  const from = clock.milliseconds();
  const microseconds = clock.microseconds();
  assert.ok(Number.isInteger(microseconds) && microseconds >= 0 && microseconds < 1_000_000_000);
  assert.ok(elapsedMicroseconds(Math.floor((from * 1000) % 1_000_000_000), microseconds) < 1_000_000);
  assert.deepEqual([elapsedMicroseconds(5, 7), elapsedMicroseconds(999_999_990, 5)], [2, 15]);
});
