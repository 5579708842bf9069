import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawn, ManualTiming } from '../../test/reference/manual-timing.ts';
import { type Job, Schedule } from './schedule.ts';

/** Runs take `takes` seconds; notes when they begin. */
function job(timing: ManualTiming, { interval = 2, jitter = 0, takes = 0.1 } = {}): Job & { readonly at: number[] } {
  const at: number[] = [];
  const run = (): Promise<void> => {
    at.push(timing.now());
    return new Promise((done) => timing.after(takes, done));
  };
  return { interval, jitter, run, at };
}

const gaps = (at: readonly number[]) => at.slice(1).map((time, i) => time - at[i]);

test('first runs are spread, later ones an interval apart, never later', async () => {
  const timing = new ManualTiming(0, drawn(1));
  const schedule = new Schedule(timing, 1000);
  const jobs = Array.from({ length: 100 }, () => job(timing, { jitter: 0.2 }));
  schedule.add(jobs);
  await timing.pass(20);
  const firsts = jobs.map(({ at }) => at[0]);
  for (const [i, at] of firsts.entries())
    assert.ok(at >= (i / 100) * 2 - 1e-9 && at < ((i + 1) / 100) * 2 + 1e-9, `${i} at ${at}`);
  for (const { at } of jobs) for (const gap of gaps(at)) assert.ok(gap > 1.6 - 1e-6 && gap <= 2 + 0.002, `${gap}`);
  // No moment has much more than its share: 50 a second.
  const begun = jobs.flatMap(({ at }) => at).filter((at) => at >= 2);
  for (let from = 2; from < 19; from += 0.1) {
    const count = begun.filter((at) => at >= from && at < from + 0.1).length;
    assert.ok(count <= 16, `${count} runs from ${from}`);
  }
  schedule.close();
  assert.equal(timing.pending, jobs.filter(({ at }) => timing.now() - at.at(-1)! < 0.1).length, 'only runs under way are left');
});

test('no more at a time than the limit; who waits is not forgotten, and does not make up for what it missed', async () => {
  const timing = new ManualTiming();
  const schedule = new Schedule(timing, 3);
  let most = 0;
  const jobs = Array.from({ length: 10 }, () => job(timing, { interval: 1, takes: 0.9 }));
  schedule.add(
    jobs.map(({ interval, jitter, run }) => ({
      interval,
      jitter,
      run: () => {
        most = Math.max(most, schedule.running);
        return run();
      },
    })),
  );
  await timing.pass(30);
  assert.equal(most, 3);
  const counts = jobs.map(({ at }) => at.length);
  assert.ok(Math.min(...counts) >= 9 && Math.max(...counts) <= 11, `${counts}`);
});

test('hurry: now, or when the run that is under way has ended; then as usual', async () => {
  const timing = new ManualTiming(0);
  const schedule = new Schedule(timing, 10);
  const one = job(timing, { interval: 10, takes: 1 });
  schedule.add([one]);
  await timing.pass(1.5);
  schedule.hurry(one);
  await timing.pass(2);
  schedule.hurry(one);
  await timing.pass(20);
  assert.deepEqual(one.at, [1, 2, 3.5, 13.5, 23.5].slice(0, one.at.length));
  assert.equal(one.at.length, 5);
});

test('a job that is removed runs no more, whether it waited, was queued or ran', async () => {
  const timing = new ManualTiming(0);
  const schedule = new Schedule(timing, 1);
  const [running, queued, waiting] = [job(timing, { takes: 5 }), job(timing), job(timing)];
  schedule.add([running, queued, waiting]);
  await timing.pass(1.2);
  for (const one of [running, queued, waiting]) schedule.remove(one);
  schedule.hurry(waiting);
  await timing.pass(60);
  assert.deepEqual([running.at.length, queued.at.length, waiting.at.length], [1, 0, 0]);
  assert.equal(timing.pending, 0);
});

test('who waits for its turn is none of those that run, and waits as long as it takes', async () => {
  const timing = new ManualTiming(0);
  const schedule = new Schedule(timing, 1);
  const [shy, other] = [job(timing, { interval: 1 }), job(timing, { interval: 1 })];
  const turns: (() => void)[] = [];
  const turn = () => new Promise<void>((done) => turns.push(done));
  const job1 = { interval: 1, jitter: 0, run: shy.run, turn };
  schedule.add([job1, other]);
  await timing.pass(5.5);
  assert.deepEqual([shy.at.length, turns.length], [0, 1]);
  assert.ok(other.at.length >= 5, `${other.at.length}`);
  turns[0]();
  await timing.pass(0.1);
  assert.equal(shy.at.length, 1);
  await timing.pass(1);
  assert.equal(turns.length, 2, 'the next run waits again');
  schedule.remove(job1);
  turns[1]();
  await timing.pass(3);
  assert.equal(shy.at.length, 1);
  schedule.close();
});
