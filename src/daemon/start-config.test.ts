import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeTrial } from '../control/trial-file.ts';
import { startConfig } from './start-config.ts';

const yaml = (weight: number, more = '') => `services: [{ name: web, address: 192.0.2.1, protocol: tcp, port: 80, pool: a }]
pools: { a: { table-size: 251, backends: [{ name: w1, address: 198.51.100.1, weight: ${weight} }] } }
tunnel: { source: { ipv4: 203.0.113.1 } }
${more}`;

test('a file that was tried and not confirmed is not taken: the configuration before it is, and only that', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gd-start-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [file, kept] = [join(folder, 'director.yaml'), join(folder, 'unconfirmed.json')];
  const start = () => {
    const { config, trial, ignored } = startConfig(file, kept);
    return [config.spec.pools[0].backends[0].weight, trial !== null, ignored];
  };
  writeFileSync(file, yaml(2));
  assert.deepEqual(start(), [2, false, null]);
  writeTrial(kept, { file, tried: yaml(2), confirmed: yaml(1) });
  assert.deepEqual(start(), [1, true, null]);
  assert.deepEqual(start(), [1, true, null], 'however often');
  assert.equal(startConfig(file, kept).config.text, yaml(1));
  // Somebody has changed the file since: that is what is wanted.
  writeFileSync(file, yaml(3));
  assert.deepEqual(start(), [3, false, null]);
  writeFileSync(file, yaml(2));
  writeTrial(kept, { file: `${file}.other`, tried: yaml(2), confirmed: yaml(1) });
  assert.deepEqual(start(), [2, false, null]);
  // No reload changes these, so that no reload wrote it.
  writeTrial(kept, { file, tried: yaml(2), confirmed: yaml(1, 'privileges: { user: root }\n') });
  const [weight, onTrial, ignored] = start();
  assert.deepEqual([weight, onTrial], [2, false]);
  assert.match(String(ignored), /another privileges\.user/);
  writeTrial(kept, { file, tried: yaml(2), confirmed: 'services: 7' });
  assert.match(String(start()[2]), /refused by this version/);
});
