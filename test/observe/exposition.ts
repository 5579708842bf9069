// What is wrong with the text of a scrape: held against metrics.golden, and by promtool.

import { spawnSync } from 'node:child_process';
import type { MetricFamily } from '../../src/observe/metrics.ts';
import { promisedMetrics } from './golden.ts';

/** promtool's complaints, a line each; needs('promtool'). */
export function complaints(text: string): string[] {
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: text,
    encoding: 'utf8',
    timeout: 20_000,
  });
  const lines = `${stdout}${stderr}`.split('\n').filter((line) => line !== '');
  return status === 0 || lines.length > 0 ? lines : [`promtool ended with ${status}`];
}

/** Families of the text that are not promised as they are, and samples with other labels than promised; `seen` gets the names of what has samples. */
export function unpromised(text: string, seen = new Set<string>()): string[] {
  const promised = promisedMetrics();
  const problems: string[] = [];
  const familyOf = (name: string): MetricFamily | undefined =>
    promised.get(name) ?? promised.get(name.replace(/_(bucket|sum|count)$/, ''));
  for (const line of text.split('\n')) {
    const [, kind, name, rest] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind !== undefined) {
      const family = promised.get(name);
      if ((kind === 'HELP' ? family?.help : family?.type) !== rest) problems.push(line);
      continue;
    }
    const sample = /^([a-z0-9_]+)/.exec(line)?.[1];
    if (sample === undefined) continue;
    const family = familyOf(sample);
    if (family !== undefined) seen.add(family.name);
    const labels = [...line.matchAll(/[{,]([a-z_]+)="/g)].map((match) => match[1]);
    // The client library does not say the labels of its own metrics.
    const fits = sample.startsWith('gue_director_') ? labels.join() === family?.labels.join() : family !== undefined;
    if (!fits) problems.push(line);
  }
  return problems;
}
