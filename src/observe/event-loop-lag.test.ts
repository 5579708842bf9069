import assert from 'node:assert/strict';
import { createHistogram } from 'node:perf_hooks';
import { test } from 'node:test';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { NEVER_MS, registerEventLoopLag } from './event-loop-lag.ts';

/** Values of `nodejs_eventloop_lag_…` by what stands between, '' for the one without. */
async function lags(registry: Registry): Promise<Map<string, number>> {
  const text = await registry.metrics();
  return new Map(
    [...text.matchAll(/^nodejs_eventloop_lag_(?:(\w+)_)?seconds (\S+)$/gm)].map(([, part, value]) => [part ?? '', Number(value)]),
  );
}

test('delays are told without the interval between two looks; without a look since the last scrape they stay', async () => {
  const registry = new Registry();
  const histogram = createHistogram();
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: NEVER_MS });
  registerEventLoopLag(registry, histogram);
  for (const ms of [50, 51, 52, 150]) histogram.record(ms * 1e6);
  for (let scrape = 0; scrape < 2; scrape++) {
    const found = await lags(registry);
    assert.deepEqual([...found.keys()].sort(), ['', 'max', 'mean', 'min', 'p50', 'p90', 'p99', 'stddev']);
    // A histogram has three digits.
    const near = (part: string, seconds: number) =>
      assert.ok(Math.abs(found.get(part)! - seconds) < 0.0002, `${part}: ${found.get(part)}, not ${seconds}`);
    near('min', 0);
    near('max', 0.1);
    near('mean', 0.02575);
    near('p50', 0.001);
    near('p99', 0.1);
    assert.equal(histogram.count, 0, 'the next scrape tells of what comes');
  }
});

test('a loop that is held up for longer than an interval is noticed', async () => {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: NEVER_MS });
  registerEventLoopLag(registry);
  const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
  await sleep(120);
  await lags(registry);
  // A histogram begins with the first look behind its reset.
  await sleep(120);
  const until = performance.now() + 200;
  while (performance.now() < until);
  await sleep(60);
  const longest = (await lags(registry)).get('max')!;
  assert.ok(longest > 0.1, `${longest} s of at least 150 ms`);
});
