// The dashboards of deploy/grafana: Grafana can read them, and they name only what exists. `.ci/run` holds them against Grafana's own types as well
// (grafana-types.ts). What Prometheus answers to the expressions: test/full/graphs.test.ts.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { needs } from '../needs.ts';
import { read } from '../rules/sources.ts';
import { DASHBOARD_FILES, type Dashboard, expressionsOf, filledIn, type Panel, readDashboard } from './dashboards.ts';
import { missingIn } from './docs-named.ts';
import { promisedMetrics } from './golden.ts';
import { problemsOf, type Schema } from './json-schema.ts';
import { namesIn, unknownNames } from './promql.ts';

const schema = JSON.parse(read('test/observe/grafana-dashboard.schema.json')) as Schema;
const dashboards = DASHBOARD_FILES.map((file) => ({ file, dashboard: readDashboard(file) }));
const promised = promisedMetrics();

test('there are two, and they link to each other', () => {
  assert.deepEqual(
    dashboards.map(({ dashboard }) => dashboard.uid),
    ['gue-director-detail', 'gue-director-overview'],
  );
  const uids = new Set(dashboards.map(({ dashboard }) => `/d/${dashboard.uid}`));
  const links = dashboards.flatMap(({ dashboard }) => dashboard.links.map(({ url }) => url));
  assert.deepEqual(links.sort(), [...uids].sort());
});

test('Grafana’s dashboard model', () => {
  for (const { file, dashboard } of dashboards) assert.deepEqual(problemsOf(schema, dashboard), [], file);
});

test('the schema refuses what Grafana would stumble over', () => {
  const change = (edit: (panel: Record<string, unknown>) => void) => {
    const copy = structuredClone(dashboards[0].dashboard) as unknown as { panels: Record<string, unknown>[] };
    edit(copy.panels.find(({ type }) => type === 'timeseries') as Record<string, unknown>);
    return problemsOf(schema, copy);
  };
  assert.equal(change(() => {}).length, 0);
  const wrong = [
    change((panel) => delete panel.gridPos),
    change((panel) => Object.assign(panel.gridPos as object, { w: 25 })),
    change((panel) => Object.assign(panel, { datasource: 'Prometheus' })),
    change((panel) => Object.assign(panel, { type: 'graph' })),
    change((panel) => Object.assign(panel.options as object, { legend: true })),
    change((panel) => Object.assign(panel, { yaxes: [] })),
  ];
  for (const problems of wrong) assert.ok(problems.length > 0 && problems.every((problem) => /panels\[\d+\]/.test(problem)));
  assert.throws(() => problemsOf({ anyOf: [] }, 1), RangeError);
});

test('ids are unique, and no panel lies over another or beside the grid', () => {
  const overlap = ({ gridPos: a }: Panel, { gridPos: b }: Panel) =>
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
  for (const { file, dashboard } of dashboards) {
    const { panels } = dashboard;
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length, file);
    for (const [i, one] of panels.entries()) {
      assert.ok(one.gridPos.x + one.gridPos.w <= 24, `${file}: ${one.title}`);
      const over = panels.slice(i + 1).find((other) => overlap(one, other));
      assert.equal(over, undefined, `${file}: ${one.title} lies over ${over?.title}`);
    }
    for (const { title, targets = [] } of panels) {
      assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, `${file}: ${title}`);
    }
  }
});

test('every expression names metrics and labels that exist, and asks for the chosen directors only', () => {
  const problems = dashboards.flatMap(({ file, dashboard }) => {
    const names = new Set(dashboard.templating.list.map(({ name }) => name));
    return expressionsOf(dashboard).flatMap(({ at, expr }) => {
      const found = [...unknownNames(filledIn(expr), promised)];
      for (const { metric, labels } of namesIn(filledIn(expr)).selectors) {
        for (const label of ['job', 'instance']) if (!labels.includes(label)) found.push(`${metric} without ${label}`);
      }
      for (const [, word] of expr.matchAll(/\$([a-z]\w*)/g)) if (!names.has(word)) found.push(`no variable $${word}`);
      return found.map((problem) => `${file}, ${at}: ${problem}`);
    });
  });
  assert.deepEqual(problems, []);
});

test('every variable asks for a label that its metric has', () => {
  for (const { file, dashboard } of dashboards) {
    for (const { name, type, query } of dashboard.templating.list) {
      if (type === 'datasource') continue;
      const text = typeof query === 'string' ? query : query.query;
      const [, selector, label] = /^label_values\((.+), (\w+)\)$/.exec(text) ?? [];
      assert.ok(selector, `${file}: ${name}`);
      assert.deepEqual(unknownNames(`sum by (${label}) (${selector})`, promised), [], `${file}: ${name}`);
    }
  }
});

test('every panel says what it shows, and names pages and commands that exist', () => {
  const problems = dashboards.flatMap(({ file, dashboard }) => [
    ...missingIn(dashboard.description).map((problem) => `${file}: ${problem}`),
    ...dashboard.panels.flatMap(({ title, description = '' }) =>
      missingIn(description).map((one) => `${file}, ${title}: ${one}`),
    ),
  ]);
  assert.deepEqual(problems, []);
});

test('what the overview must have', () => {
  const overview = dashboards.find(({ dashboard }) => dashboard.uid === 'gue-director-overview')?.dashboard as Dashboard;
  const shown = new Set(
    expressionsOf(overview).flatMap(({ expr }) => namesIn(filledIn(expr)).selectors.map(({ metric }) => metric)),
  );
  const wanted = [
    'ready',
    'received_packets_total',
    'forwarded_packets_total',
    'dropped_packets_total',
    'service_packets_total',
    'health_up',
    'backend_effective_weight',
    'backend_table_slots',
    'table_digest_info',
  ];
  for (const name of wanted) assert.ok(shown.has(`gue_director_${name}`), name);
});

test('every metric of the director is on a dashboard, or is one that a table or an info says better', () => {
  const shown = new Set(
    dashboards.flatMap(({ dashboard }) =>
      expressionsOf(dashboard).flatMap(({ expr }) => namesIn(filledIn(expr)).selectors.map(({ metric }) => metric)),
    ),
  );
  const elsewhere = new Set([
    // Sums of what the threads show.
    'gue_director_batches_total',
    'gue_director_wakeups_total',
    // What the start found: `gue-director status`.
    'gue_director_flow_file_info',
    'gue_director_flow_table_picked_up_entries',
    'gue_director_flow_table_regions',
    // Of no use as a curve; an alert looks at the first one.
    'gue_director_discovery_file_failed',
    'gue_director_discovery_file_failures_total',
    'gue_director_discovery_file_backends',
    'gue_director_completed_checksums_total',
    'gue_director_backend_bytes_total',
  ]);
  const own = [...promised.keys()].filter((name) => name.startsWith('gue_director_'));
  assert.deepEqual(
    own.filter((name) => !shown.has(name) && !elsewhere.has(name)),
    [],
  );
  assert.deepEqual(
    [...elsewhere].filter((name) => shown.has(name) || !promised.has(name)),
    [],
  );
});

test('promtool: every expression is one', needs('promtool'), (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-promql-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const all = dashboards.flatMap(({ dashboard }) => expressionsOf(dashboard));
  const check = (expressions: readonly string[]) => {
    const rules = expressions.map((expr, n) => ({ record: `check:${n}`, expr: filledIn(expr) }));
    const file = join(folder, 'rules.yml');
    // JSON is YAML.
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboards', rules }] }));
    return spawnSync('promtool', ['check', 'rules', file], { encoding: 'utf8', timeout: 30_000 });
  };
  const { status, stdout, stderr } = check(all.map(({ expr }) => expr));
  assert.equal(status, 0, `${stdout}${stderr}`);
  assert.ok(stdout.includes(`${all.length} rules found`), stdout);
  assert.notEqual(check(['sum by (up']).status, 0, 'promtool does refuse what is none');
});
