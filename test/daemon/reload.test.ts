// A running director that is given another configuration: by command, by SIGHUP, by its file. One director for all of it.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAction, askStatus } from '../../src/admin/client.ts';
import { nodeCommand } from '../../src/demo/cast.ts';
import { needs } from '../needs.ts';
import { buildLab, configuration, eventually, RunningDirector, sendDatagrams } from './running-director.ts';

test(
  'valid, invalid, impossible: by command, signal and file; plan, confirmation, rollback',
  needs('namespaces', 'tun'),
  async (t) => {
    const lab = buildLab(t, 2);
    const yaml = configuration(lab, { ingress: '{ driver: packet, interface: eth0 }' });
    const director = await RunningDirector.start(t, lab, yaml);
    const { file } = director;
    const socket = `${lab.director.runtimeDirectory}/admin.sock`;
    const reload = (wish: object = {}) => askAction(socket, '/-/reload', wish);
    const status = () => askStatus({ path: socket });
    const command = (...words: string[]) => run(...words, '--config', file);
    const run = (...words: string[]) => {
      const [program, args] = nodeCommand('../cli/main', ...words);
      return spawnSync(program, args, {
        encoding: 'utf8',
        env: { ...process.env, RUNTIME_DIRECTORY: lab.director.runtimeDirectory },
      });
    };
    const blackholes = () =>
      execFileSync('ip', ['-n', lab.director.name, 'route', 'show', 'type', 'blackhole'], { encoding: 'utf8' });

    // A service more, on an address of its own; a backend lighter.
    const other = '10.80.9.2';
    const wider = yaml
      .replace('pools:', `  - { name: more, address: ${other}, protocol: udp, port: 54, pool: over-4 }\npools:`)
      .replace(`address: "${lab.workers[0].address4}" }`, `address: "${lab.workers[0].address4}", weight: 3 }`);
    writeFileSync(file, wider);
    const planned = command('plan', '--exit-code');
    assert.equal(planned.status, 3, planned.stderr);
    assert.match(planned.stdout, /\+ more/);
    assert.match(planned.stdout, /weight: 1 → 3/);
    assert.match(planned.stdout, /\d+ of 251 slots move/);
    assert.match(planned.stdout, /flows: of 0 entries/);
    assert.equal((await status()).generation, 1, 'a plan changes nothing');
    assert.ok(!blackholes().includes(other));
    const { body: plan } = await askAction(socket, '/-/plan');
    assert.equal((await reload({ ifGeneration: 7 })).status, 409);
    assert.equal((await reload({ ifPlan: '0123456789abcdef' })).status, 409);
    const done = await reload({ ifGeneration: 1, ifPlan: plan.id });
    assert.deepEqual([done.status, done.body.result, done.body.generation], [200, 'success', 2], JSON.stringify(done.body));
    assert.ok(blackholes().includes(other), 'the new prefix is silenced');
    assert.equal((await askAction(socket, '/-/plan')).body.empty, true);

    // The filter of the packet ingress follows: the new service's packets come in.
    lab.router.ip(`route add ${other}/32 via ${lab.director.address4}`);
    sendDatagrams(lab, other, 54, 20, 2);
    const taken = async () => (await status()).services.find(({ name }) => name === 'more')?.packets ?? -1;
    for (let tries = 0; (await taken()) < 40 && tries < 250; tries++) await sleep(20);
    assert.equal(await taken(), 40);
    const flows = (await askAction(socket, '/-/plan')).body.flows as { entries: number; confirmed: number; moving: number };
    assert.deepEqual([flows.entries, flows.confirmed, flows.moving], [20, 20, 0]);

    // Wrong in two places: refused whole, with both, and nothing is touched.
    const before = await status();
    writeFileSync(file, wider.replace('port: 54', 'port: 70000').replace('table-size: 251', 'table-size: 250'));
    const wrong = command('reload');
    assert.equal(wrong.status, 78, wrong.stderr);
    assert.match(wrong.stderr, /director\.yaml:4:\d+ services\[2\]\.port .*\[GD_CONFIG_PORT\]/);
    assert.match(wrong.stderr, /table-size 250 .*\[GD_CONFIG_TABLE_PRIME\]/);
    const after = await status();
    assert.deepEqual([after.generation, after.reload.digest], [before.generation, before.reload.digest]);
    assert.deepEqual([after.reload.result, after.reload.cause], ['refused', 'command']);
    assert.match(after.reload.problem ?? '', /director\.yaml:4:/);
    assert.equal(director.metric('config_last_reload_successful'), 0);
    assert.equal(director.metric('config_reloads_total{result="refused"}'), 3);
    const told = director.entries('reload-refused').at(-1);
    assert.deepEqual([told?.code, told?.problems], ['GD_CONFIG_INVALID', 2]);

    // What only a restart changes: the key's place.
    writeFileSync(file, wider.replace('entries: 4096', 'entries: 8192').replace('threads: 1', 'threads: 2'));
    const impossible = await reload();
    const { problems, exitCode } = impossible.body.refusal as {
      problems: { path: string; line: number; code: string }[];
      exitCode: number;
    };
    assert.equal(exitCode, 78);
    const lines = wider.split('\n');
    assert.deepEqual(
      problems.map(({ path, line, code }) => [path, lines[line - 1].split(':')[0], code]),
      [
        ['threads', 'threads', 'GD_RELOAD_RESTART'],
        ['flows.entries', 'flows', 'GD_RELOAD_RESTART'],
      ],
    );
    // What the host can not bear, which its file alone does not show: a service that contains an address of this host.
    lab.director.ip('address add 10.80.9.77/32 dev lo');
    writeFileSync(file, wider.replace(`address: ${other}`, 'address: 10.80.9.77'));
    const unbearable = await reload();
    assert.deepEqual([unbearable.status, unbearable.body.result], [422, 'refused'], JSON.stringify(unbearable.body));
    assert.match(
      (await status()).reload.problem ?? '',
      /director\.yaml:4:\d+ services\[2\]\.address the prefix 10\.80\.9\.77\/32 of service more .*GD_HOST_CHECK/,
    );
    assert.equal((await status()).reload.digest, before.reload.digest);
    assert.ok(!blackholes().includes('10.80.9.77'));
    lab.director.ip('address del 10.80.9.77/32 dev lo');

    // SIGHUP; the level of the log changes at once; the file is watched from then on.
    writeFileSync(file, yaml.replace('level: info', 'level: warn').concat('reload: { watch: true }\n'));
    director.actor.child.kill('SIGHUP');
    const generation = async (least: number, cause: string) => {
      for (let tries = 0; tries < 800; tries++) {
        const now = await status();
        if (now.generation >= least && now.reload.cause === cause) return now;
        await sleep(25);
      }
      throw new Error(`generation ${least} never came: ${director.actor.words}`);
    };
    const third = await generation(3, 'signal');
    assert.deepEqual([third.reload.cause, third.reload.result, third.reload.problem], ['signal', 'success', null]);
    assert.ok(!blackholes().includes(other), 'the prefix that is gone was given back');
    assert.equal(director.entries('reloaded').length, 1, 'the last one was below the level of the log');

    // To be confirmed, and not.
    const loud = yaml.concat('reload: { watch: true }\n');
    writeFileSync(`${file}.new`, loud);
    renameSync(`${file}.new`, file);
    assert.deepEqual((await generation(4, 'file')).reload.cause, 'file');
    writeFileSync(file, wider.concat('reload: { watch: false }\n'));
    const trial = await reload({ confirmWithin: 600 });
    assert.deepEqual([trial.status, trial.body.confirmWithin], [200, 600]);
    const meanwhile = await reload();
    assert.equal((meanwhile.body.refusal as { code: string }).code, 'GD_RELOAD_PENDING');
    assert.equal((await reload({ rollback: true })).status, 200);
    await director.event('reload-rolled-back');
    const back = await generation(6, 'command');
    assert.deepEqual([back.reload.result, back.reload.confirmWithin], ['rolled-back', null]);
    assert.equal(back.reload.digest, (await status()).reload.digest);
    assert.ok(!blackholes().includes(other));
    assert.equal((await reload({ confirmWithin: 60 })).body.generation, 7);
    const kept = command('reload', '--confirm');
    assert.deepEqual([kept.status, kept.stdout], [0, 'confirmed: generation 7 stays\n'], kept.stderr);
    assert.equal((await reload({ confirm: true })).status, 409);
    assert.ok(blackholes().includes(other));

    // A route that can not be set: nothing of the new configuration stays.
    lab.director.ip(`route add blackhole 10.80.9.3/32 metric 4294967294 proto static`);
    const last = await status();
    writeFileSync(file, wider.replace(other, '10.80.9.3').concat('reload: { watch: false }\n'));
    const failed = await reload();
    assert.deepEqual([failed.status, failed.body.result], [422, 'failed'], JSON.stringify(failed.body));
    assert.equal((await status()).reload.digest, last.reload.digest);
    assert.ok(blackholes().includes(other));
    await director.event('reload-failed');
    await eventually(() => director.get('/-/ready').status === 200, 'ready');

    // Two together, one after the other; then the end, with everything given back.
    writeFileSync(file, yaml);
    const both = await Promise.all([reload(), reload()]);
    assert.deepEqual(
      both.map(({ body }) => body.result),
      ['success', 'success'],
    );

    // Another file is not this director's: both are named.
    const stranger = run('reload', '--config', '/tmp/other.yaml', '--socket', socket);
    assert.equal(stranger.status, 1);
    assert.match(stranger.stderr, new RegExp(`runs ${file}, not /tmp/other\\.yaml .*GD_RELOAD_OTHER_FILE`));

    // Killed while it waits for a confirmation: the next one has what was confirmed, though the file says otherwise, until somebody says so.
    const confirmed = (await status()).reload.digest;
    writeFileSync(file, wider);
    assert.equal((await reload({ confirmWithin: 600 })).status, 200);
    director.actor.child.kill('SIGKILL');
    await director.actor.ended;
    const again = await director.startAgain(t);
    const { cause, result, digest, problem } = (await status()).reload;
    assert.deepEqual([cause, result, digest], ['start', 'rolled-back', confirmed]);
    assert.match(problem ?? '', /was not confirmed/);
    assert.equal(again.entries('reload-rolled-back')[0]?.cause, 'start');
    assert.equal(again.metric('config_last_reload_successful'), 0);
    assert.ok(!blackholes().includes(other));
    assert.ok(existsSync(join(lab.director.runtimeDirectory, 'unconfirmed.json')));
    assert.equal((await reload()).status, 200);
    assert.ok(!existsSync(join(lab.director.runtimeDirectory, 'unconfirmed.json')));
    assert.ok(blackholes().includes(other));
    // A file that is wrong by now keeps nobody from asking.
    writeFileSync(file, 'services: [');
    const asked = command('status', '--json');
    assert.equal(asked.status, 0, asked.stderr);
    assert.equal(JSON.parse(asked.stdout).reload.result, 'success');
    assert.equal(await again.actor.stop(), 0, again.actor.words);
    assert.ok(!blackholes().includes(other));
  },
);
