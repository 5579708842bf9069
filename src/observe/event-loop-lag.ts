/**
 * How late main's event loop comes to what is due: the gauges of the client library, by its names, measured more rarely. The library has a timer go off a hundred
 * times a second, 0.4 % of a processor that packets may wait for (measured, with nothing else to do). It also counts the timer's 10 ms as delay; here what is told is the delay alone.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Gauge, type Registry } from 'prom-client';

/**
 * Milliseconds between two looks. A loop that is held up for longer is noticed, but right behind a scrape, which begins anew; for less, as often as something due would be hit by
 * it.
 */
const INTERVAL_MS = 50;
/** The library's own timer can not be left out, but set so that it never goes off (milliseconds, 24 days). */
export const NEVER_MS = 0x7fffffff;

const NANOSECONDS = 1e9;

/** Of a histogram of node:perf_hooks: nanoseconds, the interval included. */
export interface LagHistogram {
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly stddev: number;
  percentile(share: number): number;
  reset(): void;
}

const PARTS: readonly (readonly [name: string, help: string, of: (histogram: LagHistogram) => number])[] = [
  ['min', 'The minimum recorded event loop delay.', (histogram) => delay(histogram.min)],
  ['max', 'The maximum recorded event loop delay.', (histogram) => delay(histogram.max)],
  ['mean', 'The mean of the recorded event loop delays.', (histogram) => delay(histogram.mean)],
  ['stddev', 'The standard deviation of the recorded event loop delays.', (histogram) => histogram.stddev / NANOSECONDS],
  ['p50', 'The 50th percentile of the recorded event loop delays.', (histogram) => delay(histogram.percentile(50))],
  ['p90', 'The 90th percentile of the recorded event loop delays.', (histogram) => delay(histogram.percentile(90))],
  ['p99', 'The 99th percentile of the recorded event loop delays.', (histogram) => delay(histogram.percentile(99))],
];

/** Seconds. A timer may come a little early by the histogram's rounding. */
function delay(nanoseconds: number): number {
  return Math.max(0, nanoseconds / NANOSECONDS - INTERVAL_MS / 1000);
}

/** Puts the gauges in place of the library's own, which `collectDefaultMetrics` has registered. Each scrape tells of the time since the last one. */
export function registerEventLoopLag(registry: Registry, histogram: LagHistogram = startHistogram()): void {
  const gauge = (name: string, help: string, collect?: () => void): Gauge => {
    registry.removeSingleMetric(name);
    return new Gauge({ name, help, registers: [registry], ...(collect === undefined ? {} : { collect }) });
  };
  // Asked before the others, in the order of registering: it fills them in.
  const now = gauge('nodejs_eventloop_lag_seconds', 'Lag of event loop in seconds.', () => {
    const asked = process.hrtime.bigint();
    setImmediate(() => now.set(Number(process.hrtime.bigint() - asked) / NANOSECONDS));
    // Two scrapes within one interval: there is nothing new, and the histogram would tell of its limits.
    if (histogram.count === 0) return;
    for (const part of parts) part.gauge.set(part.of(histogram));
    histogram.reset();
  });
  const parts = PARTS.map(([part, help, of]) => ({ gauge: gauge(`nodejs_eventloop_lag_${part}_seconds`, help), of }));
}

function startHistogram(): LagHistogram {
  const histogram = monitorEventLoopDelay({ resolution: INTERVAL_MS });
  histogram.enable();
  return histogram;
}
