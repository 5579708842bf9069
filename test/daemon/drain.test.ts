// Drains by the admin socket and by signal, in the running daemon: what it refuses, what outlives kill -9, what ends with a clean stop.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { askAction, askStatus } from '../../src/admin/client.ts';
import { type DrainListing, drainText } from '../../src/cli/render/drain.ts';
import { paintFor } from '../../src/cli/render/paint.ts';
import { needs } from '../needs.ts';
import { buildLab, configuration, eventually, RunningDirector } from './running-director.ts';

const plain = paintFor({ isTTY: false });

test(
  'a drain: refused with a reason, shown, outlives kill -9; the director drains by SIGUSR1 and ends by itself',
  needs('namespaces', 'tun'),
  async (t) => {
    const lab = buildLab(t, 2);
    const yaml = configuration(lab).replace(
      'worker-2, address: "10',
      'worker-2, drain-deadline: 500, state: draining, address: "10',
    );
    assert.ok(yaml.includes('drain-deadline'));
    const first = await RunningDirector.start(t, lab, yaml);
    const socket = join(lab.director.runtimeDirectory, 'admin.sock');
    const file = join(lab.director.runtimeDirectory, 'drains.json');
    const ask = async (request: object) => {
      const { status, body } = await askAction(socket, '/-/drain', request);
      return { status, ...(body as unknown as DrainListing & { message: string; hint: string }) };
    };

    const look = async (pool: string, backend: string) => {
      const { ready, draining, backends } = await askStatus({ path: socket });
      const { state, share, drain } = backends.find((one) => one.pool === pool && one.name === backend)!;
      return { ready, draining, state, share, drain };
    };

    const configured = (await ask({})).backends;
    assert.deepEqual(
      configured.map(({ backend, pool, cause, state, flows }) => [pool, backend, cause, state, flows]),
      [['over-4', 'worker-2', 'configuration', 'draining', { alive: 0, remembered: 0 }]],
    );
    for (const [request, status, message, hint] of [
      [{ backend: 'over-7/worker-1' }, 422, /no pool "over-7"/, /over-4, over-6/],
      [{ backend: 'over-6/worker-7' }, 422, /no backend "worker-7"/, /worker-1, worker-2/],
      [{ backend: 'over-4/worker-1' }, 409, /last backend of pool over-4/, /--force/],
      [{ backend: 'over-6/worker-1', cancel: true }, 409, /is not drained/, /gue-director drain/],
      [{ backend: 'over-4/worker-2', cancel: true }, 409, /the configuration has state: draining/, /reload/],
      [{ backend: 'over-6' }, 400, /POOL\/NAME/, /./],
    ] as const) {
      const answer = await ask(request);
      assert.equal(answer.status, status, JSON.stringify(request));
      assert.match(answer.message, message);
      assert.match(answer.hint ?? 'none', hint);
    }
    assert.equal((await ask({ backend: 'over-6/worker-1', deadline: 300 })).status, 200);
    const { drain, ...seen } = await look('over-6', 'worker-1');
    assert.deepEqual(seen, { ready: { ok: true, reasons: [] }, draining: null, state: 'draining', share: 0 });
    assert.ok(drain?.cause === 'command' && (drain.downIn ?? 0) > 290, JSON.stringify(drain));
    first.actor.child.kill('SIGUSR1');
    await first.event('director-draining');
    const ready = first.get('/-/ready');
    assert.equal(ready.status, 503);
    assert.match(ready.body, /this director is draining/);
    first.actor.child.kill('SIGKILL');
    await first.actor.ended;

    const second = await RunningDirector.start(t, lab, yaml);
    const listing = await ask({});
    assert.deepEqual(
      listing.backends.map(({ pool, backend, cause, downIn }) => [
        pool,
        backend,
        cause,
        (downIn ?? 0) < (cause === 'command' ? 300 : 500),
      ]),
      [
        ['over-4', 'worker-2', 'configuration', true],
        ['over-6', 'worker-1', 'command', true],
      ],
      'the clock went on',
    );
    assert.match(
      drainText(listing, plain),
      /^this director is draining for .*\n\nbackend +state .*\nover-4\/worker-2 +draining +configuration .* in \d+ min /,
    );
    assert.equal((await look('over-6', 'worker-1')).ready.ok, false);
    assert.equal((await ask({ director: true, cancel: true })).director, null);
    assert.deepEqual((await look('over-6', 'worker-1')).ready, { ok: true, reasons: [] });
    // The last backend of one pool: its service is not ready here, the other one and the director are.
    assert.equal((await ask({ backend: 'over-4/worker-1', force: true })).status, 200);
    await eventually(() => second.get('/-/ready/dns-6').status === 503, 'the service without a backend is not ready');
    assert.equal(second.get('/-/ready/dns-6').body, 'not ready\npool over-4 has no serving backend\n');
    assert.deepEqual(
      ['/-/ready', '/-/ready/dns-4', '/-/ready/dns-7'].map((path) => second.get(path).status),
      [200, 200, 404],
    );
    const metrics = second.metrics();
    assert.deepEqual(
      ['ready', 'service_ready{service="dns-4"}', 'service_ready{service="dns-6"}'].map((name) =>
        metrics.get(`gue_director_${name}`),
      ),
      [1, 1, 0],
    );
    assert.equal((await ask({ backend: 'over-4/worker-1', cancel: true })).status, 200);
    assert.equal((await ask({ backend: 'over-6/worker-1', deadline: 0 })).backends[1].state, 'down');
    assert.equal((await look('over-6', 'worker-1')).state, 'down');
    assert.equal((await ask({ director: true, stopAfter: 0.3 })).director?.stopIn, 0);
    assert.equal(await second.actor.ended, 0, second.actor.words);
    await eventually(() => existsSync(file), 'the file is there');
    const kept = JSON.parse(readFileSync(file, 'utf8')) as { director: unknown; backends: unknown[] };
    assert.deepEqual([kept.director, kept.backends.length], [null, 2], "the director's own drain ended with it");
  },
);
