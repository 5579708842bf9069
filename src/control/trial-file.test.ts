import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readTrial, writeTrial } from './trial-file.ts';

test('a trial comes back as it was, for its owner alone, and goes; what is no trial is ignored with a reason', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gd-trial-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'unconfirmed.json');
  assert.deepEqual(readTrial(path), { trial: null, ignored: null });
  const trial = { file: '/etc/x.yaml', tried: 'a: "ü"\n', confirmed: '' };
  writeTrial(path, trial);
  assert.deepEqual(readTrial(path), { trial, ignored: null });
  assert.equal(statSync(path).mode & 0o777, 0o600);
  for (const [text, why] of [
    ['{', /no JSON/],
    ['{"version":2}', /version is 2/],
    ['null', /version is undefined/],
    ['{"version":1,"file":"x","tried":7,"confirmed":""}', /damaged/],
  ] as const) {
    writeFileSync(path, text);
    const { trial: found, ignored } = readTrial(path);
    assert.equal(found, null);
    assert.match(ignored ?? '', why);
  }
  writeTrial(path, null);
  writeTrial(path, null);
  assert.ok(!existsSync(path));
});
