import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { filesOf, matches } from './discovery.ts';
import { type DiscoveredFile, parseDiscoveryText, readDiscoveryFile } from './discovery-file.ts';
import { ConfigError, formatProblem } from './problem.ts';

const folder = mkdtempSync(join(tmpdir(), 'gue-director-found-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const values = ({ backends }: DiscoveredFile) => backends.map(({ value }) => value);

function problems(text: string): string[] {
  try {
    parseDiscoveryText(text, 'f.yaml');
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(formatProblem);
    throw error;
  }
  assert.fail('it was accepted');
}

test('our own backends, in YAML and JSON, with every key of the configuration', () => {
  const yaml = `
- { name: w1, address: 198.51.100.1, weight: 3, state: draining, drain-deadline: 60, tunnel: { port: 7000 }, server-id: 5 }
- name: w2
  address: "2001:db8::2"
`;
  const json = JSON.stringify([
    {
      name: 'w1',
      address: '198.51.100.1',
      weight: 3,
      state: 'draining',
      'drain-deadline': 60,
      tunnel: { port: 7000 },
      'server-id': 5,
    },
    { name: 'w2', address: '2001:db8::2' },
  ]);
  const found = values(parseDiscoveryText(yaml, 'f.yaml'));
  assert.deepEqual(found, values(parseDiscoveryText(json, 'f.json')));
  assert.deepEqual(found[1], { name: 'w2', address: '2001:db8::2', weight: 1, state: 'active' });
  assert.deepEqual(parseDiscoveryText('[]', 'f.yaml').backends, []);
});

test("groups as Prometheus' file_sd has them: names from label or address, ports, labels for others", () => {
  const text = `
- targets: ["198.51.100.1", "198.51.100.2:7000", "[2001:DB8:0::3]:7001", "2001:db8::4"]
  labels: { weight: "2", job: node, name: none-of-them }
- targets: ["198.51.100.9"]
  labels: { name: nine, state: down, server_id: "0a0b" }
- targets: []
`;
  assert.deepEqual(values(parseDiscoveryText(text, 'f.yaml')), [
    { name: '198.51.100.1', address: '198.51.100.1', weight: 2, state: 'active' },
    { name: '198.51.100.2', address: '198.51.100.2', weight: 2, state: 'active', tunnel: { port: 7000 } },
    { name: '2001-db8--3', address: '2001:DB8:0::3', weight: 2, state: 'active', tunnel: { port: 7001 } },
    { name: '2001-db8--4', address: '2001:db8::4', weight: 2, state: 'active' },
    { name: 'nine', address: '198.51.100.9', weight: 1, state: 'down', 'server-id': '0a0b' },
  ]);
});

test('what is wrong is said with its place in the file', () => {
  assert.deepEqual(problems('- { name: w1, adress: 10.0.0.1 }\n- { name: "w 2", address: 10.0.0.2 }\n- 7\n'), [
    'f.yaml:1:3 [0].address the key "address" is missing [GD_CONFIG_MISSING_KEY]',
    'f.yaml:1:15 [0].adress unknown key "adress"; did you mean "address"? [GD_CONFIG_UNKNOWN_KEY]',
    'f.yaml:2:11 [1].name "w 2" is not a name: 1 to 63 letters, digits, ".", "_" or "-", beginning with a letter or digit [GD_CONFIG_NAME]',
    'f.yaml:3:3 [2] must be a map of keys, not the number 7 [GD_CONFIG_TYPE]',
  ]);
  for (const [text, expected] of [
    ['name: w1\n', /^f\.yaml:1:1 a file with backends is a list/],
    ['- { targets: [x], lables: {} }\n', /^f\.yaml:1:19 \[0\]\.lables unknown key "lables"; a group has/],
    ['- { targets: [worker.example] }\n', /^f\.yaml:1:15 \[0\]\.targets\[0\] .*\[GD_CONFIG_ADDRESS\]/],
    ['- { targets: ["10.0.0.1:0"] }\n', /^f\.yaml:1:15 .*\[GD_CONFIG_RANGE\]/],
    ['- { targets: [10.0.0.1], labels: { weight: heavy } }\n', /^f\.yaml:1:44 \[0\]\.labels\.weight .*\[GD_CONFIG_TYPE\]/],
    ['- { targets: [10.0.0.1], labels: { weight: 2 } }\n', /^f\.yaml:1:44 .*put it in quotes/],
    ['- { targets: 10.0.0.1 }\n', /^f\.yaml:1:14 \[0\]\.targets must be a list/],
    ['- { name: a, address: 10.0.0.1\n', /^f\.yaml:\d+:\d+ YAML/],
  ] as const) {
    assert.match(problems(text)[0], expected, text);
  }
  assert.match(problems(`- ${'#'.repeat(8 << 20)}`)[0], /GD_CONFIG_FILE_TOO_BIG/);
  assert.throws(
    () => readDiscoveryFile(join(folder, 'none.yaml')),
    /none\.yaml:1:1 the file does not exist \[GD_CONFIG_FILE_MISSING\]/,
  );
  writeFileSync(join(folder, 'empty.yaml'), '\n');
  assert.throws(() => readDiscoveryFile(join(folder, 'empty.yaml')), /a list without backends is written \[\]/);
});

test('patterns: wildcards in the last part, no hidden files, nothing special about dots', () => {
  for (const name of ['a.yaml', 'b.yaml', '.c.yaml', 'ayaml', 'a.json']) writeFileSync(join(folder, name), '[]');
  assert.deepEqual(filesOf(join(folder, '?.yaml')), [join(folder, 'a.yaml'), join(folder, 'b.yaml')]);
  assert.deepEqual(
    filesOf(join(folder, 'a*')),
    ['a.json', 'a.yaml', 'ayaml'].map((name) => join(folder, name)),
  );
  assert.deepEqual(filesOf(join(folder, 'gone.yaml')), [join(folder, 'gone.yaml')]);
  assert.throws(() => filesOf(join(folder, 'nowhere/*.yaml')), /ENOENT/);
  assert.equal(matches(join(folder, '*.yaml'), join(folder, 'x.yaml')), true);
  assert.equal(matches(join(folder, '*.yaml'), join(folder, 'sub/x.yaml')), false);
  assert.equal(matches(join(folder, 'x.yaml'), join(folder, 'x.yaml')), false);
});
