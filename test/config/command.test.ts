// The command line as a user meets it: exit codes, output, and that `check` touches nothing but the file.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { nodeCommand } from '../../src/demo/cast.ts';
import { findCommand, needs } from '../needs.ts';

const root = new URL('../../', import.meta.url).pathname;
/** Arguments of Node: the built program, or the source and its loader. */
const CLI = nodeCommand('../cli/main')[1];
const example = join(root, 'config/director.yaml');
const several = join(root, 'test/config/wrong/several.yaml');
const ESCAPE = '\u001b';
const folder = mkdtempSync(join(tmpdir(), 'gue-director-config-'));
after(() => rmSync(folder, { recursive: true }));

const environment = {
  ...process.env,
  NO_COLOR: undefined,
  FORCE_COLOR: undefined,
  NODE_OPTIONS: '',
  NODE_TEST_CONTEXT: undefined,
};

function run(...args: string[]): { code: number | null; out: string; err: string } {
  return start(process.execPath, [...CLI, ...args]);
}

function start(program: string, args: string[], env: NodeJS.ProcessEnv = environment) {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: root, encoding: 'utf8', env, timeout: 60_000 });
  return { code: status, out: stdout, err: stderr };
}

test('check accepts the example: exit code 0, a summary with digests', () => {
  const { code, out, err } = run('check', example);
  assert.equal(err, '');
  assert.equal(code, 0);
  assert.match(out, /^ok: 3 services, 2 pools, 5 backends\n {2}web-workers: 65537 slots, table digest [0-9a-f]{16}\n/);
});

test('check refuses: exit code 78, every problem on its line, nothing on standard output', () => {
  const { code, out, err } = run('check', several);
  assert.equal(code, 78);
  assert.equal(out, '');
  const lines = err.trimEnd().split('\n');
  assert.ok(lines.length >= 5);
  for (const line of lines) assert.match(line, /several\.yaml:\d+:\d+ \S+ .+ \[GD_CONFIG_[A-Z_]+\]$/);
});

test('check reads the files of https checks, and warns at the keys that name them', () => {
  const file = join(folder, 'tls.yaml');
  writeFileSync(join(folder, 'empty.pem'), '');
  writeFileSync(
    file,
    `services: [{ name: web, address: 192.0.2.10, protocol: tcp, port: 443, pool: web }]
tunnel: { source: { ipv4: 203.0.113.1 } }
pools:
  web:
    backends: [{ name: w1, address: 198.51.100.1 }]
    health: { checks: [{ type: https, ca: empty.pem, certificate: none.pem, key: empty.pem }] }
`,
  );
  const { code, err } = run('check', file);
  assert.equal(code, 0);
  assert.match(
    err,
    /tls\.yaml:6:43 pools\.web\.health\.checks\[0\]\.ca .*can not use .*empty\.pem.*\[GD_CONFIG_HEALTH_TLS_FILE\]\n/,
  );
  assert.match(err, /tls\.yaml:6:67 pools\.web\.health\.checks\[0\]\.certificate .*can not read .*none\.pem: ENOENT/);
  assert.equal(run('check', '--deny-warnings', file).code, 78);
});

test('check --json', () => {
  const { code, out } = run('check', '--json', several);
  assert.equal(code, 78);
  const report = JSON.parse(out);
  assert.equal(report.ok, false);
  assert.equal(report.summary, null);
  assert.deepEqual(
    [report.problems[0].line, report.problems[0].column, report.problems[0].path, report.problems[0].code],
    [3, 14, 'services[0].address', 'GD_CONFIG_PREFIX_HOST_BITS'],
  );
  const accepted = JSON.parse(run('check', '--json', example).out);
  assert.deepEqual(
    accepted.summary.pools.map(({ name, scheme, tableSize }: Record<string, unknown>) => [name, scheme, tableSize]),
    [
      ['web-workers', 'maglev', 65537],
      ['file-workers', 'maglev', 251],
    ],
  );
});

test('a warning is printed; with --deny-warnings it refuses', () => {
  const file = join(folder, 'warning.yaml');
  writeFileSync(file, readFileSync(example, 'utf8').replace('127.0.0.1:6079', '0.0.0.0:6079'));
  const accepted = run('check', file);
  assert.equal(accepted.code, 0);
  assert.match(accepted.err, /metrics\.listen warning: 0\.0\.0\.0 can be reached by others.*\[GD_CONFIG_LISTEN_PUBLIC\]/);
  assert.match(accepted.out, /^ok:/);
  const denied = run('check', '--deny-warnings', file);
  assert.equal(denied.code, 78);
  assert.equal(denied.out, '');
});

test('files that can not be read: missing, a folder, too big', () => {
  const big = join(folder, 'big.yaml');
  writeFileSync(big, '');
  truncateSync(big, 16 * 1024 * 1024 + 1);
  for (const [file, code] of [
    [join(folder, 'missing.yaml'), 'GD_CONFIG_FILE_MISSING'],
    [folder, 'GD_CONFIG_FILE_UNREADABLE'],
    [big, 'GD_CONFIG_FILE_TOO_BIG'],
  ] as const) {
    const result = run('check', '--config', file);
    assert.equal(result.code, 78);
    assert.match(result.err, new RegExp(`^${file}:1:1 the file .* \\[${code}\\]\n$`));
  }
});

test('what would be read for ever is refused at once: a named pipe, a device without an end', () => {
  const pipe = join(folder, 'pipe.yaml');
  execFileSync('mkfifo', [pipe]);
  for (const [file, words] of [
    [pipe, /named pipe.*\/dev\/stdin \[GD_CONFIG_FILE_UNREADABLE\]\n$/],
    ['/dev/zero', /\[GD_CONFIG_FILE_TOO_BIG\]\n$/],
    ['/dev/null', /\[GD_CONFIG_FILE_EMPTY\]\n$/],
  ] as const) {
    const result = run('check', file);
    assert.equal(result.code, 78, result.err);
    assert.match(result.err, words);
  }
});

test('check reads a pipe that it was started with', () => {
  const piped = start('sh', ['-c', `cat ${example} | { exec "$0" "$@" check /dev/stdin; }`, process.execPath, ...CLI]);
  assert.equal(piped.code, 0, piped.err);
  assert.match(piped.out, /^ok: 3 services/);
});

test('check touches neither the network nor the FFI library', () => {
  const hook = join(root, 'test/config/no-network.mjs');
  for (const [file, code] of [
    [example, 0],
    [several, 78],
    [join(root, 'test/config/wrong/host-name.yaml'), 78],
  ] as const) {
    // Behind the loader, which talks to its parent.
    const result = start(process.execPath, [...CLI.slice(0, -1), '--import', hook, CLI[CLI.length - 1], 'check', file]);
    assert.equal(result.code, code, result.err);
    assert.doesNotMatch(result.err, /TOUCHED/);
  }
  // The hook is not blind.
  const probe = ['--import', hook, '-e', 'require("node:net").connect(1)'];
  assert.equal(start(process.execPath, probe).code, 99);
  assert.equal(start(process.execPath, ['--import', hook, '-e', 'require("koffi").load("libc.so.6")']).code, 99);
});

// tsx itself talks to its parent through a Unix socket.
test('nor does the kernel see it ask for a socket', needs('strace'), () => {
  const log = join(folder, 'strace');
  const args = ['-f', '-qq', '-e', 'trace=socket,connect,bind,listen,sendto,sendmsg', '-o', log];
  const result = start(findCommand('strace')!, [...args, process.execPath, ...CLI, 'check', example]);
  assert.equal(result.code, 0, result.err);
  const calls = readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => /\b(socket|connect|bind|listen)\(/.test(line) && !line.includes('AF_UNIX'));
  assert.deepEqual(calls, []);
});

test('wrong usage: exit code 2 and a suggestion', () => {
  const command = run('chek');
  assert.equal(command.code, 2);
  assert.match(command.err, /unknown command 'chek'\n\(Did you mean check\?\)/);
  const option = run('check', '--jsn');
  assert.equal(option.code, 2);
  assert.match(option.err, /Did you mean --json\?/);
  assert.equal(run().code, 2);
});

test('help teaches, version tells', () => {
  const help = run('--help');
  assert.equal(help.code, 0);
  assert.match(help.out, /Examples:\n {2}gue-director check/);
  assert.match(help.out, /Exit codes: 0 ok/);
  const version = run('--version');
  assert.equal(version.out.trim(), JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version);
});

test('colour only where it is asked for', () => {
  const args = [...CLI, 'check', several];
  assert.ok(!start(process.execPath, args).err.includes(ESCAPE));
  assert.ok(start(process.execPath, args, { ...environment, FORCE_COLOR: '1' }).err.includes(`${ESCAPE}[1m`));
  assert.ok(!start(process.execPath, args, { ...environment, FORCE_COLOR: '1', NO_COLOR: '1' }).err.includes(ESCAPE));
});

test('schema prints a JSON Schema', () => {
  const { code, out } = run('schema');
  assert.equal(code, 0);
  const schema = JSON.parse(out);
  assert.equal(schema.$schema, 'http://json-schema.org/draft-07/schema#');
  assert.deepEqual(schema.required, ['services', 'pools']);
  assert.equal(schema.additionalProperties, false);
});

test('table: shares and digest; --compare says what moves; an unknown pool is wrong usage', () => {
  const report = JSON.parse(run('table', '-c', example, '--json').out);
  const [web] = report.pools;
  assert.equal(
    web.backends.reduce((sum: number, backend: { slots: number }) => sum + backend.slots, 0),
    65537,
  );
  assert.ok(Math.abs(web.backends[1].share - 2 / 3) < 0.001);
  assert.equal(web.backends[2].slots, 0);

  const next = join(folder, 'next.yaml');
  writeFileSync(next, readFileSync(example, 'utf8').replace(/.*name: file-2,.*\n/, ''));
  const compared = JSON.parse(run('table', '-c', example, '--compare', next, '--json').out);
  assert.deepEqual(
    compared.pools.map((pool: { change: string }) => pool.change),
    ['none', 'moved'],
  );
  assert.equal(compared.pools[1].disruption.moved, 125);
  assert.equal(compared.pools[1].disruption.collateral, 0);

  const slots = run('table', '-c', example, '--pool', 'file-workers', '--slots').out.trimEnd().split('\n');
  assert.equal(slots.length, 251);
  assert.match(slots[0], /^file-workers 0 file-[12] 198\.51\.100\.1[12]$/);

  const unknown = run('table', '-c', example, '--pool', 'webb');
  assert.equal(unknown.code, 2);
  assert.match(
    unknown.err,
    /^error: .* has no pool "webb" \[GD_CLI_UNKNOWN_POOL\]\nhint: its pools are: web-workers, file-workers\n$/,
  );
});
