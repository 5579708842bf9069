// Metrics, alerts and dashboards together: scaled down by promtool and made-up scrapes; at full size a running director, and a Prometheus beside it
// that scrapes it, answers every panel's expressions, and fires when it ends.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Namespace } from '../../src/demo/lab/namespace.ts';
import { Lab, VIP4 } from '../../src/demo/lab/topology.ts';
import { createMetrics } from '../../src/observe/metrics.ts';
import { complaints, unpromised } from '../observe/exposition.ts';
import { promisedMetrics } from '../observe/golden.ts';
import { answeredByPromtool, panelExpressions } from '../observe/panels.ts';
import { richSource } from '../observe/rich-source.ts';
import { root } from '../rules/sources.ts';
import { RunningDirector, runIn } from '../uml/director.ts';
import type { Line, Outcome, Scale } from './line.ts';
import { Program } from './program.ts';

const RULES = join(root, 'deploy/prometheus');
const TARGET = '127.0.0.1:6079';
/** Seconds of scrapes before the panels are asked: some five of them. */
const SCRAPES = 6;
/** GueDirectorDown waits a minute. */
const PATIENCE = 120;

interface Found {
  readonly figures: Record<string, number | string>;
  readonly wrong: string[];
}

function rulesTested(found: Found): void {
  const { status, stdout, stderr } = spawnSync('promtool', ['test', 'rules', 'gue-director.rules.test.yml'], {
    cwd: RULES,
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (status !== 0) found.wrong.push(`${stdout}${stderr}`);
  found.figures['promtool test rules'] = status === 0 ? 'every alert fires and resolves' : 'FAILED';
}

function linted(text: string, found: Found): void {
  found.figures['lines of the scrape'] = text.split('\n').length - 1;
  const said = complaints(text);
  found.figures['complaints of promtool check metrics'] = said.length;
  const others = unpromised(text);
  found.figures['lines that metrics.golden does not promise'] = others.length;
  found.wrong.push(...said, ...others);
}

function configuration(lab: Lab): string {
  const [worker] = lab.workers;
  return [
    `services: [{ name: web, address: "${VIP4}", protocol: udp, port: 7000, pool: web }]`,
    'pools:',
    '  web:',
    `    backends: [{ name: worker, address: "${worker.address4}" }]`,
    '    health: { checks: [{ type: icmp }], interval: 0.5, timeout: 0.2 }',
    `tunnel: { port: 6080, source: { ipv4: "${lab.director.address4}", ipv6: "${lab.director.address6}" } }`,
    'ingress: { driver: tun, device: gd0 }',
    'egress: { driver: raw }',
    '',
  ].join('\n');
}

/** Asks Prometheus, one answer for each path. */
async function ask<T>(namespace: Namespace, paths: readonly string[]): Promise<T[]> {
  const script = `
    let text = '';
    process.stdin.on('data', (part) => { text += part; }).on('end', async () => {
      const answers = [];
      for (const path of JSON.parse(text)) answers.push(await (await fetch('http://127.0.0.1:9090' + path)).json());
      process.stdout.write(JSON.stringify(answers));
    });`;
  return JSON.parse(await runIn(namespace, process.execPath, ['-e', script], JSON.stringify(paths))) as T[];
}

interface Answer {
  readonly status: string;
  readonly error?: string;
  readonly data: { readonly result: readonly unknown[] };
}

interface Alerts {
  readonly data: { readonly alerts: readonly { readonly state: string; readonly labels: Readonly<Record<string, string>> }[] };
}

interface Rules {
  readonly data: {
    readonly groups: readonly { readonly rules: readonly { readonly name: string; readonly health: string }[] }[];
  };
}

const sleep = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Seconds until the alert is firing, or is not. Throws after PATIENCE. */
async function untilFiring(namespace: Namespace, alert: string, wanted: boolean): Promise<number> {
  const began = performance.now();
  for (;;) {
    const seconds = Math.round((performance.now() - began) / 1000);
    if (seconds > PATIENCE) throw new Error(`${alert} is ${wanted ? 'silent' : 'firing'} after ${seconds} s`);
    const [{ data }] = await ask<Alerts>(namespace, ['/api/v1/alerts']);
    const fires = data.alerts.some(({ state, labels }) => labels.alertname === alert && state === 'firing');
    if (fires === wanted) return seconds;
    await sleep(1);
  }
}

/** A director, and a Prometheus in its namespace; everything is ended and removed. */
async function withPrometheus(found: Found): Promise<void> {
  const lab = Lab.create({ workers: 1 });
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-prometheus-'));
  const here = lab.director;
  let director: RunningDirector | null = null;
  let prometheus: Program | null = null;
  try {
    director = await RunningDirector.start(here, configuration(lab));
    const file = join(folder, 'prometheus.yml');
    const scrapes = [{ job_name: 'gue-director', static_configs: [{ targets: [TARGET] }] }];
    const global = { scrape_interval: '1s', evaluation_interval: '1s' };
    writeFileSync(file, JSON.stringify({ global, rule_files: [join(RULES, 'gue-director.rules.yml')], scrape_configs: scrapes }));
    const words = [`--config.file=${file}`, `--storage.tsdb.path=${join(folder, 'data')}`, '--web.listen-address=127.0.0.1:9090'];
    prometheus = await Program.start(here, 'prometheus', words, 'ready to receive web requests', 30);
    await sleep(SCRAPES);
    linted(await director.metrics(), found);

    const expressions = panelExpressions();
    const answers = await ask<Answer>(
      here,
      expressions.map(({ expr }) => `/api/v1/query?query=${encodeURIComponent(expr)}`),
    );
    const refused = answers.flatMap(({ status, error }, n) => (status === 'success' ? [] : [`${expressions[n].at}: ${error}`]));
    found.wrong.push(...refused);
    found.figures['expressions that Prometheus answers'] = answers.length - refused.length;
    found.figures['of these with something to show, no packet sent'] = answers.filter(
      ({ data }) => data?.result.length > 0,
    ).length;
    const [{ data }] = await ask<Rules>(here, ['/api/v1/rules?type=alert']);
    const rules = data.groups.flatMap((group) => group.rules);
    found.wrong.push(...rules.filter(({ health }) => health !== 'ok').map(({ name, health }) => `${name} is ${health}`));
    found.figures['alerts that Prometheus evaluates'] = rules.length;

    await director.stop();
    found.figures['GueDirectorDown fires after the director has ended, s'] = await untilFiring(here, 'GueDirectorDown', true);
    director = await RunningDirector.start(here, configuration(lab));
    found.figures['and resolves when it is back, s'] = await untilFiring(here, 'GueDirectorDown', false);
  } finally {
    await prometheus?.stop();
    await director?.stop();
    lab.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function run(scale: Scale): Promise<Outcome> {
  const found: Found = { figures: {}, wrong: [] };
  found.figures['metrics promised'] = promisedMetrics().size;
  if (scale === 'full') {
    rulesTested(found);
    await withPrometheus(found);
  } else {
    const size = { services: 2, pools: 2, backends: 4, checked: 2, checks: 3, threads: 2, files: 1, ingresses: 1 };
    linted(await createMetrics(richSource(size)).render(), found);
  }
  const { silent, said } = await answeredByPromtool();
  found.figures['expressions of the dashboards'] = panelExpressions().length;
  found.figures['of these without an answer for two directors under load'] = silent.length;
  found.wrong.push(...silent, ...said);
  return {
    passed: found.wrong.length === 0,
    figures: { ...found.figures, complaints: found.wrong.slice(0, 8).join(' | ') || 'none' },
  };
}

export const graphs: Line = {
  name: 'graphs',
  claim:
    'No complaint of promtool about the metrics, every alert fires and resolves, and Prometheus answers every expression of the dashboards, which name only metrics that exist.',
  twin: 'test/full/graphs.test.ts',
  run,
};
