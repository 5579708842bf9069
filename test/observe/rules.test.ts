// The alert rules of deploy/prometheus: each fires and resolves, says what to do, and names only what exists.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { ORDINARY_DROPS } from '../../src/daemon/drop-summary.ts';
import { needs } from '../needs.ts';
import { read, root } from '../rules/sources.ts';
import { missingIn } from './docs-named.ts';
import { promisedMetrics } from './golden.ts';
import { unknownNames } from './promql.ts';

const FOLDER = 'deploy/prometheus';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface Case {
  readonly alertname: string;
  readonly eval_time: string;
  readonly exp_alerts?: readonly unknown[];
}

const { groups } = parse(read(`${FOLDER}/gue-director.rules.yml`)) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);

function promtool(...words: string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync('promtool', words, { cwd: join(root, FOLDER), encoding: 'utf8', timeout: 60_000 });
  return { status, text: `${stdout}${stderr}` };
}

/** `6h2m` in seconds. */
function seconds(duration: string): number {
  const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };
  return [...duration.matchAll(/(\d+)([smh])/g)].reduce((sum, [, count, unit]) => sum + Number(count) * units[unit], 0);
}

test('promtool: the rules are rules, and their tests pass', needs('promtool'), () => {
  const rightly = promtool('check', 'rules', 'gue-director.rules.yml');
  assert.equal(rightly.status, 0, rightly.text);
  const tested = promtool('test', 'rules', 'gue-director.rules.test.yml');
  assert.equal(tested.status, 0, tested.text);
});

test('every alert is tested before it fires, while it does, and after it has resolved', () => {
  const { tests } = parse(read(`${FOLDER}/gue-director.rules.test.yml`)) as { tests: { alert_rule_test: Case[] }[] };
  const cases = tests.flatMap((one) => one.alert_rule_test);
  for (const { alert } of rules) {
    const story = cases
      .filter(({ alertname }) => alertname === alert)
      .sort((a, b) => seconds(a.eval_time) - seconds(b.eval_time))
      .map(({ exp_alerts }) => ((exp_alerts ?? []).length > 0 ? 'fires' : 'silent'));
    assert.match(story.join(' '), /^silent fires( .*)? ?silent$/, alert);
  }
  const unknown = cases.filter(({ alertname }) => !rules.some(({ alert }) => alert === alertname));
  assert.deepEqual(unknown, []);
});

test('every alert names metrics and labels that exist, says what is the matter, and what to do', () => {
  const promised = promisedMetrics();
  const problems = rules.flatMap(({ alert, expr, labels, annotations }) => {
    const { summary = '', action = '' } = annotations;
    const found = [...unknownNames(expr, promised), ...missingIn(action)];
    if (!/^GueDirector[A-Z]/.test(alert)) found.push('its name begins with GueDirector');
    if (!['critical', 'warning', 'info'].includes(labels.severity)) found.push('its severity is critical, warning or info');
    if (summary === '' || !/docs\/[a-z-]+\.md/.test(action)) found.push('it has no summary, or its action names no page');
    return found.map((problem) => `${alert}: ${problem}`);
  });
  assert.deepEqual(problems, []);
  assert.ok(rules.length >= 20);
});

test('the drops that call for no alert are those that call for no warning in the log', () => {
  const { expr } = rules.find(({ alert }) => alert === 'GueDirectorDrops') as Rule;
  assert.deepEqual(/reason!~"([^"]+)"/.exec(expr)?.[1].split('|').sort(), [...ORDINARY_DROPS].sort());
});
