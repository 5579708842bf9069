// Drains across a takeover: in memory from one process to the other, and nothing written by who does not have the file.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Config } from '../config/config.ts';
import { Controller } from '../control/controller.ts';
import { EventJournal } from '../observe/events.ts';
import { createLog } from '../observe/log.ts';
import type { Spec } from '../pipeline/spec.ts';
import type { BoottimeClock } from '../raw-socket/clock.ts';
import { DrainKeeper } from './drain-keeper.ts';

const SPEC: Spec = {
  services: [],
  pools: [
    {
      name: 'web',
      tableSize: 251,
      seed: 0,
      tunnel: { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'auto' },
      backends: ['a', 'b'].map((name, i) => ({
        name,
        address: Uint8Array.of(192, 0, 2, i),
        weight: 1,
        state: 'active' as const,
      })),
    },
  ],
};

function rig(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'gd-drains-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'drains.json');
  let now = 100_000;
  const start = () => {
    const controller = new Controller({ config: { spec: SPEC } as Config, publish: () => {}, refused: () => {} });
    const keeper = new DrainKeeper({
      journal: new EventJournal(createLog({ level: 'silent', format: 'json', write: () => {} })),
      clock: { milliseconds: () => now, seconds: () => now / 1000 } as BoottimeClock,
      controller,
      shards: () => [],
      names: () => ({ services: [], pools: [], backends: [] }),
      uncertain: () => new Set(),
      stop: () => {},
      file,
    });
    t.after(() => keeper.close({ stopped: false }));
    const state = () => controller.specWith(controller.config).pools[0].backends[0].state;
    return { keeper, state };
  };
  return { file, start, pass: (milliseconds: number) => (now += milliseconds) };
}

test('drains go over in memory; the successor writes no file and lets no deadline pass before everything is its own', async (t) => {
  const { file, start, pass } = rig(t);
  const old = start();
  await old.keeper.action({ backend: 'web/a', deadline: 60 });
  assert.equal(old.state(), 'draining');
  const written = readFileSync(file, 'utf8');
  rmSync(file);

  const next = start();
  next.keeper.hold();
  next.keeper.restore(JSON.parse(JSON.stringify(old.keeper.exportState())));
  assert.equal(next.state(), 'draining');
  assert.ok(!existsSync(file));
  pass(61_000);
  assert.equal(next.state(), 'draining');
  next.keeper.release();
  assert.equal(next.state(), 'down');
  assert.equal(readFileSync(file, 'utf8'), written);
});

test('the old one: while a successor takes over nothing is written; when that came to nothing, the file is as it should be', async (t) => {
  const { file, start, pass } = rig(t);
  const { keeper, state } = start();
  keeper.restore();
  await keeper.action({ backend: 'web/a', deadline: 60 });
  const written = readFileSync(file, 'utf8');
  keeper.hold();
  pass(61_000);
  keeper.drainDirector();
  assert.equal(readFileSync(file, 'utf8'), written);
  assert.equal(state(), 'draining');
  rmSync(file);
  keeper.release();
  assert.equal(state(), 'down');
  assert.match(readFileSync(file, 'utf8'), /"since":161000/);
});
