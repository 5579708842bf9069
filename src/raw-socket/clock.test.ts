import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { boottimeClock } from './clock.ts';

test('CPU time of the calling thread: work counts, waiting does not', async () => {
  const clock = boottimeClock();
  const begin = clock.threadCpuSeconds();
  const started = clock.milliseconds();
  await sleep(100);
  const slept = clock.threadCpuSeconds();
  assert.ok(clock.milliseconds() - started >= 95);
  assert.ok(slept - begin < 0.05, `${slept - begin} s of CPU time asleep`);
  let turns = 0;
  while (clock.threadCpuSeconds() - slept < 0.05) turns++;
  const { user, system } = process.cpuUsage();
  assert.ok(turns > 1000, 'it is no clock of whole seconds');
  assert.ok(clock.threadCpuSeconds() <= (user + system) / 1e6 + 0.05, 'not more than the process has used');
});

test('seconds and milliseconds are of one clock', () => {
  const clock = boottimeClock();
  const [before, milliseconds, after] = [clock.seconds(), clock.milliseconds(), clock.seconds()];
  assert.ok(before * 1000 <= milliseconds && milliseconds < (after + 1) * 1000);
});
