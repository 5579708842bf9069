import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ExportedState } from '../health/exported.ts';
import { bootId, HealthFile } from './health-file.ts';

const STATE: ExportedState = { version: 1, savedAt: 1000, pools: [{ name: 'a', lastGood: ['w1'] }], backends: [] };

test('written whole, read by a process that starts soon after, on the same boot', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-health-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const runtime = join(folder, 'run');
  const file = new HealthFile(runtime, 'this');
  assert.equal(file.read(1000), null);
  file.write(STATE);
  file.write(STATE);
  assert.deepEqual(readdirSync(runtime), ['health.json']);
  assert.equal(statSync(file.path).mode & 0o777, 0o600);
  const read = (now: number, boot = 'this') => new HealthFile(runtime, boot).read(now);
  const found = read(1060) as ExportedState;
  assert.deepEqual([found.savedAt, found.pools], [1000, STATE.pools]);
  assert.equal(read(1061), 'it is 61 s old, at most 60 are of use');
  assert.equal(read(990), 'it is -10 s old, at most 60 are of use');
  assert.equal(read(1000, 'another'), 'it is of another boot of this machine');
  for (const [text, reason] of [
    ['{', 'it is no JSON'],
    ['null', 'it is of another boot of this machine'],
    ['{"boot":"this","version":2}', 'it is of another version, or damaged'],
  ] as const) {
    writeFileSync(file.path, text);
    assert.equal(read(1000), reason);
  }
  rmSync(file.path);
  assert.match(new HealthFile('/proc/1/no/such', 'this').read(1) === null ? 'none' : 'some', /none/);
  assert.throws(() => new HealthFile(join(folder, 'a', 'b'), 'this').write(STATE));
  assert.match(bootId(), /^[0-9a-f-]{36}$/);
});
