// What the expressions of the dashboards would be answered: by promtool, from scrapes that are made up.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMetrics } from '../../src/observe/metrics.ts';
import { DASHBOARD_FILES, expressionsOf, filledIn, readDashboard } from './dashboards.ts';
import { promisedMetrics } from './golden.ts';
import { richSource } from './rich-source.ts';

export interface PanelExpression {
  /** File, panel, letter of the query. */
  readonly at: string;
  /** For Prometheus: everything is chosen. */
  readonly expr: string;
}

export function panelExpressions(): PanelExpression[] {
  return DASHBOARD_FILES.flatMap((file) =>
    expressionsOf(readDashboard(file)).map(({ at, expr }) => ({
      at: `${file}: ${at}`,
      expr: filledIn(expr).replaceAll(/\$[a-z]+/g, '.*'),
    })),
  );
}

/** Gauges that panels show only when they are not all the same. */
const GAUGES: Readonly<Record<string, number>> = { gue_director_backend_weight: 2, gue_director_path_mtu_bytes: 1500 };

/** Twenty minutes of scrapes: counters and timestamps rise by sixty a minute, gauges are 1. */
async function scraped(instances: readonly string[]): Promise<{ series: string; values: string }[]> {
  const size = { services: 1, pools: 1, backends: 2, checked: 2, checks: 2, threads: 2, files: 1, ingresses: 1 };
  const promised = promisedMetrics();
  const text = await createMetrics(richSource(size)).render();
  const samples = text.split('\n').filter((line) => /^(gue_director|process|nodejs_(eventloop|heap_size|external))_/.test(line));
  samples.push('up 1', 'nodejs_gc_duration_seconds_sum{kind="minor"} 1');
  return instances.flatMap((instance) =>
    samples.map((line) => {
      const [, name, labels = ''] = /^([a-z0-9_]+)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
      const rises = promised.get(name)?.type === 'counter' || /(_sum|_success_timestamp_seconds)$/.test(name);
      return {
        series: `${name}{job="gue-director",instance="${instance}"${labels === '' ? '' : `,${labels}`}}`,
        values: rises ? '0+60x20' : `${GAUGES[name] ?? 1}x20`,
      };
    }),
  );
}

/**
 * Panels that would show nothing for two directors whose every counter rises, and whatever else promtool has to say: an expression that can be
 * read and fails nonetheless (labels that match several series, say). Empty lists when all is well.
 */
export async function answeredByPromtool(): Promise<{ silent: string[]; said: string[] }> {
  const all = panelExpressions();
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-panels-'));
  try {
    const rules = all.map(({ expr }, n) => ({ record: `check:${n}`, expr }));
    const input_series = await scraped(['director-1:6079', 'director-2:6079']);
    // What was recorded is not absent; of a rule that fails promtool tells by itself.
    const looks = all.map((_, n) => ({ expr: `absent(check:${n})`, eval_time: '15m', exp_samples: [] }));
    const tests = [{ interval: '1m', input_series, promql_expr_test: looks }];
    // JSON is YAML.
    writeFileSync(join(folder, 'rules.yml'), JSON.stringify({ groups: [{ name: 'dashboards', rules }] }));
    writeFileSync(join(folder, 'test.yml'), JSON.stringify({ rule_files: ['rules.yml'], evaluation_interval: '5m', tests }));
    const { status, stdout, stderr } = spawnSync('promtool', ['test', 'rules', 'test.yml'], {
      cwd: folder,
      encoding: 'utf8',
      timeout: 60_000,
    });
    const text = `${stdout}${stderr}`;
    const silent = [...text.matchAll(/absent\(check:(\d+)\)/g)].map(([, n]) => all[Number(n)].at);
    return { silent, said: status === 0 ? [] : text.split('\n').filter((line) => line.trim() !== '') };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
