// Wishes that come while the director can not reload: at its start, and while a successor takes over.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadConfig } from '../config/load.ts';
import { Controller } from '../control/controller.ts';
import { EventJournal } from '../observe/events.ts';
import { createLog } from '../observe/log.ts';
import type { HostKeeper } from './host-keeper.ts';
import { ReloadKeeper } from './reload-keeper.ts';

const yaml = (port: number) => `services:
  - { name: web, address: 203.0.113.1, protocol: tcp, port: ${port}, pool: p }
pools: { p: { backends: [{ name: a, address: 192.0.2.1 }] } }
tunnel: { port: 6080, source: { ipv4: 198.51.100.1 } }
ingress: { driver: tun, device: gd0 }
egress: { driver: raw }
reload: { watch: true }
log: { level: info }
`;

test('a file that changes before it is watched, and a wish while nothing can be reloaded, are not forgotten', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gd-reload-'));
  const { RUNTIME_DIRECTORY, STATE_DIRECTORY } = process.env;
  process.env.RUNTIME_DIRECTORY = folder;
  delete process.env.STATE_DIRECTORY;
  const file = join(folder, 'director.yaml');
  writeFileSync(file, yaml(80));
  const config = loadConfig(file);
  const controller = new Controller({ config, publish: () => {}, refused: () => {} });
  const log = createLog({ level: 'silent', format: 'json', write: () => {} });
  const journal = new EventJournal(log);
  let phase: 'starting' | 'running' | 'stopping' = 'starting';
  const keeper = new ReloadKeeper({
    controller,
    host: { consider: () => {}, widen: () => {}, narrow: () => {} } as unknown as HostKeeper,
    log,
    journal,
    trial: null,
    aside: [],
    contradictions: () => [],
    trust: () => {},
    resolved: (spec) => spec,
    current: () => ({ parts: null, spec: null }),
    everywhere: () => Promise.resolve(),
    flows: () => [],
    now: () => 0,
    isRunning: () => phase === 'running',
    isStopping: () => phase === 'stopping',
  });
  t.after(() => {
    keeper.close();
    for (const [name, value] of Object.entries({ RUNTIME_DIRECTORY, STATE_DIRECTORY })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    rmSync(folder, { recursive: true });
  });
  const port = () => controller.config.spec.services[0].portFrom;
  const becomes = async (wanted: number) => {
    for (let i = 0; i < 200 && port() !== wanted; i++) await sleep(5);
    assert.equal(port(), wanted);
  };
  writeFileSync(file, yaml(81));
  controller.adopt(config);
  await sleep(20);
  assert.equal(port(), 80);
  phase = 'running';
  keeper.running();
  await becomes(81);

  phase = 'starting';
  writeFileSync(file, yaml(82));
  keeper.ask('signal');
  await sleep(20);
  assert.equal(port(), 81);
  phase = 'running';
  keeper.running();
  await becomes(82);
  // Nothing is due any more, and the file says what is in force.
  const { counts } = keeper.status();
  keeper.running();
  await sleep(20);
  assert.deepEqual(keeper.status().counts, counts);

  phase = 'stopping';
  keeper.ask('signal');
  assert.match(journal.since().at(-1)?.text ?? '', /is stopping/);
});
