// metrics.golden: one line for each metric, `name type labels help`, sorted; `-` for no labels.

import type { MetricFamily } from '../../src/observe/metrics.ts';
import { read } from '../rules/sources.ts';

export function parseGolden(text: string): ReadonlyMap<string, MetricFamily> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const [name, type, labels, ...help] = line.split(' ');
      return [name, { name, type, labels: labels === '-' ? [] : labels.split(','), help: help.join(' ') }];
    }),
  );
}

/** What is promised, by name. */
export function promisedMetrics(): ReadonlyMap<string, MetricFamily> {
  return parseGolden(read('test/observe/metrics.golden'));
}
