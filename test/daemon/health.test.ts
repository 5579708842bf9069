// Health checks of a running director: a worker's server ends, and its share of the table goes to the other; it comes back, slowly.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Status } from '../../src/admin/status.ts';
import { paintFor } from '../../src/cli/render/paint.ts';
import { statusText } from '../../src/cli/render/status.ts';
import type { Namespace } from '../../src/demo/lab/namespace.ts';
import { needs } from '../needs.ts';
import { buildLab, configuration, eventually, METRICS_PORT, RunningDirector } from './running-director.ts';

const PORT = 8080;
const SERVER = `require('node:http').createServer((q, r) => r.end('alive')).listen(${PORT}, '0.0.0.0', () => console.log('ready'))`;
const HEALTH = `
    health:
      checks: [{ type: http, port: ${PORT}, path: /healthz, body: { contains: alive } }, { type: icmp }]
      interval: 0.2
      timeout: 0.2
      slow-start: 2
      minimum-healthy: 1`;

async function serve(worker: Namespace): Promise<ChildProcess> {
  const server = worker.spawn(process.execPath, ['-e', SERVER], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(server.stdout!, 'data');
  return server;
}

/** Asks for the status every 50 ms until `condition` (of `s`) is true; all answers, the last included. One process for all. */
function watchStatus({ lab }: RunningDirector, condition: string): Status[] {
  const script = `(async () => {
    const seen = [];
    for (const end = Date.now() + 8000; Date.now() < end; await new Promise((done) => setTimeout(done, 50))) {
      const s = await (await fetch('http://127.0.0.1:${METRICS_PORT}/-/status')).json();
      seen.push(s);
      if (${condition}) break;
    }
    process.stdout.write(JSON.stringify(seen));
  })()`;
  return JSON.parse(lab.director.run(process.execPath, ['-e', script])) as Status[];
}

test(
  'a server that ends is found, its slots move, it comes back slowly; a restart knows what was known',
  needs('namespaces', 'tun'),
  async (t) => {
    const lab = buildLab(t, 2);
    const [one, two] = lab.workers;
    const servers = await Promise.all([serve(one), serve(two)]);
    t.after(() => servers.map((server) => server.kill('SIGKILL')));
    const yaml = configuration(lab).replace('  over-4:\n', `  over-4:${HEALTH}\n`);
    const director = await RunningDirector.start(t, lab, yaml);
    servers[0].kill('SIGKILL');
    await once(servers[0], 'exit');
    const down = await director.event('health-down');
    assert.deepEqual(
      [down.pool, down.backend, down.check, down.detail],
      ['over-4', 'worker-1', `http:${PORT}`, 'connection refused'],
    );
    const status = watchStatus(director, "s.backends[0].state === 'down'").at(-1)!;
    assert.deepEqual(
      status.backends.filter(({ pool }) => pool === 'over-4').map(({ share }) => share),
      [0, 1],
    );
    assert.deepEqual(status.ready, { ok: true, reasons: [] });
    assert.deepEqual(status.pools[0].health, { good: 1, of: 2, wanted: 1, belowMinimum: false });
    assert.equal(status.pools[1].health, null);
    const [first] = status.backends;
    assert.deepEqual([first.state, first.health?.up, first.health?.serves], ['down', false, false]);
    assert.deepEqual(
      first.health?.checks.map(({ check, good, detail }) => [check, good, detail]),
      [
        [`http:${PORT}`, false, 'connection refused'],
        ['icmp', true, 'echo reply'],
      ],
    );
    assert.match(
      statusText(status, paintFor({}, {})),
      /backend over-4\/worker-1: down for \d+ s: http:8080: connection refused\n/,
    );
    const metrics = director.metrics();
    const metric = (name: string, labels: string) =>
      metrics.get(`gue_director_health_${name}{pool="over-4",backend="worker-1"${labels}}`);
    assert.equal(metric('up', ''), 0);
    assert.equal(metric('changes_total', ',to="down"'), 1);
    assert.ok((metric('checks_total', `,check="http:${PORT}",result="bad"`) ?? 0) >= 3);
    assert.ok((metric('checks_total', ',check="icmp",result="good"') ?? 0) >= 1);

    // Another process, a moment later.
    await eventually(() => existsSync(join(lab.director.runtimeDirectory, 'health.json')), 'the state is written');
    assert.equal(await director.actor.stop(), 0, director.actor.words);
    const again = await RunningDirector.start(t, lab, yaml);
    assert.equal(watchStatus(again, 'true')[0].backends[0].state, 'down');
    assert.equal(again.entries('health-down').length, 0);

    servers[0] = await serve(one);
    const slots = watchStatus(again, 's.backends[0].share > 0.49').map(({ backends }) => Math.round(backends[0].share * 251));
    await again.event('health-up');
    const steps = [...new Set(slots)];
    assert.ok(steps.length >= 3 && steps[0] < 100 && steps.at(-1)! >= 125, `slots: ${steps}`);
    assert.deepEqual(
      steps,
      [...steps].sort((a, b) => a - b),
    );

    // With one worker left, and then none, the last good one goes on: the minimum is 1.
    for (const server of servers) server.kill('SIGKILL');
    const below = await again.event('health-minimum');
    assert.match(String(below.msg), /pool over-4 has 0 good backends of 2, 1 are needed; still used: worker-\d/);
    const [last] = watchStatus(again, 'true');
    assert.deepEqual([last.ready.ok, last.pools[0].health?.belowMinimum], [true, true]);
    assert.equal(await again.actor.stop(), 0, again.actor.words);
    const saved = JSON.parse(readFileSync(join(lab.director.runtimeDirectory, 'health.json'), 'utf8')) as { backends: unknown[] };
    assert.equal(saved.backends.length, 2);
  },
);
