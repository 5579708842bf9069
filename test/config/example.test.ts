// config/director.yaml, docs/configuration.md and the schema say the same.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { jsonSchema } from '../../src/config/json-schema.ts';
import { loadConfig, loadText } from '../../src/config/load.ts';
import { keyRows } from './key-rows.ts';

const root = new URL('../../', import.meta.url);
const example = new URL('config/director.yaml', root).pathname;

test('the example is accepted without a warning', () => {
  const config = loadConfig(example);
  assert.deepEqual(config.warnings, []);
  assert.equal(config.spec.services.length, 2 * 2 + 2 + 1);
  assert.equal(config.spec.pools.length, 2);
  const files = config.spec.pools.find((pool) => pool.name === 'file-workers');
  assert.equal(files?.tunnel.port, 6081);
  assert.deepEqual(files?.tunnel.source4, Uint8Array.of(203, 0, 113, 2));
});

test('the example shows every key of the schema, of its own drivers at least', () => {
  const text = readFileSync(example, 'utf8');
  const shown = new Set([...text.matchAll(/([a-z0-9-]+):(?= |$)/gm)].map((match) => match[1]));
  const drivers = /\((tap|packet|xdp|pcap-file|memory)\)/;
  const missing = keyRows(jsonSchema())
    .map(({ key }) => key)
    .filter(
      (key) =>
        !drivers.test(key) &&
        !/(scheme\([a-z-]+\)|checks\([a-z]+\)\[\])$/.test(key) &&
        !key.endsWith('(tun)') &&
        !key.endsWith('(auto)') &&
        !key.endsWith('(raw)') &&
        !key.endsWith('(udp)') &&
        !key.endsWith('(tap-offload)'),
    )
    .filter((key) => !shown.has(key.split('.').at(-1)!));
  assert.deepEqual(missing, []);
});

test("the example's defaults are the defaults", () => {
  const config = loadConfig(example);
  const text = readFileSync(example, 'utf8');
  const from = text.indexOf('# How packets come in.');
  const { ingress, egress, threads, flows, listen, log } = loadText(text.slice(0, from), example);
  assert.deepEqual(
    { ingress, egress, threads, flows, listen, log },
    {
      ingress: config.ingress,
      egress: config.egress,
      threads: config.threads,
      flows: config.flows,
      listen: config.listen,
      log: config.log,
    },
  );
});

test('its first line is the modeline that gives editors the schema', () => {
  assert.match(readFileSync(example, 'utf8'), /^# yaml-language-server: \$schema=\S+\n/);
});

test('docs/configuration.md has the row of every key, and no other', () => {
  const rows = keyRows(jsonSchema()).map(({ row }) => row);
  assert.ok(rows.length > 40);
  const text = readFileSync(new URL('docs/configuration.md', root), 'utf8');
  const written = text.split('\n').filter((line) => /^\| `[a-z]/.test(line) && line.split(' | ').length >= 3);
  const keys = written.filter((line) => !/^\| `(5-tuple|3-tuple|source-address|ports|none)`/.test(line));
  assert.deepEqual([...keys].sort(), [...rows].sort());
});

test('docs/configuration.md explains every code, and every code it explains is given somewhere', () => {
  const text = readFileSync(new URL('docs/configuration.md', root), 'utf8');
  const explained = new Set(text.slice(text.indexOf('## Codes')).match(/GD_CONFIG_[A-Z_]+/g));
  const rooms = ['src/config/', 'src/config/checks/'].flatMap((folder) =>
    readdirSync(new URL(folder, root))
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
      .map((name) => folder + name),
  );
  const given = new Set<string>();
  for (const file of rooms) {
    for (const code of readFileSync(new URL(file, root), 'utf8').match(/GD_CONFIG_[A-Z_]+/g) ?? []) given.add(code);
  }
  // The error that carries the problems has a code of its own.
  given.delete('GD_CONFIG_INVALID');
  assert.deepEqual([...explained].sort(), [...given].sort());
});

test('every key of the schema has a description', () => {
  for (const { key, row } of keyRows(jsonSchema())) assert.doesNotMatch(row, /undefined/, key);
});

test('the smallest file of the documentation is accepted', () => {
  const text = readFileSync(new URL('docs/configuration.md', root), 'utf8');
  const yaml = /```yaml\n([\s\S]*?)```/.exec(text)?.[1] ?? '';
  assert.equal(loadText(yaml, 'smallest.yaml').spec.pools[0].backends.length, 2);
});
