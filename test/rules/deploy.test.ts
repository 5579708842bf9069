// What lies in deploy/ is copied by people: it is documented, and the script does what it says (alerts and dashboards: test/observe).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { parse } from 'yaml';
import { filesBelow, read } from './sources.ts';

test('every file in deploy/ is named in the documentation', () => {
  const pages = ['README.md', 'Dockerfile', ...filesBelow('docs', '.md')].map(read).join('\n');
  const unnamed = filesBelow('deploy', '').filter((file) => !pages.includes(file));
  assert.deepEqual(unnamed, []);
});

test('the compose file and the scrape configuration are YAML, and grant what the unit grants', () => {
  const compose = parse(read('deploy/docker/compose.yaml')) as {
    services: { director: { cap_add: string[]; cap_drop: string[] } };
  };
  const granted = /^AmbientCapabilities=(.*)$/m.exec(read('deploy/systemd/gue-director.service'))?.[1] ?? '';
  assert.deepEqual(
    compose.services.director.cap_add.map((name) => `CAP_${name}`),
    granted.split(' '),
  );
  assert.deepEqual(compose.services.director.cap_drop, ['ALL']);
  assert.ok(parse(read('deploy/prometheus/prometheus.yml')));
});

test('follow-ready.sh asks about the service that it is told', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-deploy-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const asked = join(folder, 'asked');
  writeFileSync(join(folder, 'gue-director'), `#!/bin/sh\necho "$*" > ${asked}.new\nmv ${asked}.new ${asked}\nexit 1\n`, {
    mode: 0o755,
  });
  const script = resolve(import.meta.dirname, '../../deploy/bgp/follow-ready.sh');
  const words = async (env: Record<string, string>) => {
    rmSync(asked, { force: true });
    const child = spawn('sh', [script, ':', ':'], {
      env: { ...env, PATH: `${folder}:${process.env.PATH}`, FOLLOW_EVERY: '0.05' },
      stdio: 'ignore',
    });
    for (let left = 200; left > 0 && !existsSync(asked); left--) await delay(20);
    child.kill('SIGKILL');
    return readFileSync(asked, 'utf8');
  };
  const common = 'status --listen 127.0.0.1:6079 --check ready';
  assert.equal(await words({ SERVICE: 'web.1' }), `${common} --service web.1\n`);
  assert.equal(await words({}), `${common}\n`);
});

test('follow-ready.sh announces after three good looks, withdraws after one bad or three without an answer, and when it ends', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-deploy-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [ready, mute, looks, said] = ['ready', 'mute', 'looks', 'said'].map((name) => join(folder, name));
  for (const file of [looks, said]) writeFileSync(file, '');
  const script = resolve(import.meta.dirname, '../../deploy/bgp/follow-ready.sh');
  const env = {
    ...process.env,
    CHECK: `echo look >> ${looks}; test -e ${mute} && exit 69; test -e ${ready}`,
    FOLLOW_EVERY: '0.05',
  };
  const child = spawn('sh', [script, `echo on >> ${said}`, `echo off >> ${said}`], { env, stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  const ended = new Promise<number | null>((done) => child.once('exit', done));
  const until = async (words: string) => {
    for (let left = 400; readFileSync(said, 'utf8').trim().replaceAll('\n', ' ') !== words; left--) {
      assert.ok(left > 0, `${readFileSync(said, 'utf8')} is not ${words}`);
      await delay(20);
    }
  };
  const count = () => readFileSync(looks, 'utf8').split('\n').length - 1;
  await until('off');
  writeFileSync(ready, '');
  const before = count();
  await until('off on');
  assert.ok(count() - before >= 3, `${count() - before} looks`);
  rmSync(ready);
  await until('off on off');
  writeFileSync(ready, '');
  await until('off on off on');
  const answered = count();
  writeFileSync(mute, '');
  await until('off on off on off');
  assert.ok(count() - answered >= 3, `${count() - answered} looks without an answer`);
  rmSync(mute);
  await until('off on off on off on');
  child.kill('SIGTERM');
  assert.equal(await ended, 0);
  await until('off on off on off on off');
});
