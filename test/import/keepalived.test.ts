// Each keepalived.conf becomes the configuration beside it, byte for byte, and `check` accepts it. After a change that is meant:
//   WRITE_GOLDEN=1 node --import tsx --test test/import/keepalived.test.ts        and read the difference

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { importKeepalived } from '../../src/import/keepalived.ts';
import { DISK } from '../../src/import/keepalived-files.ts';
import { needs } from '../needs.ts';
import { built } from '../uml/director.ts';
import { CONFIG_ID, keepalivedFolder, keepalivedShapes } from './keepalived-shapes.ts';

const scratch = mkdtempSync(join(tmpdir(), 'gue-director-keepalived-'));
after(() => rmSync(scratch, { recursive: true }));
const environment = { ...process.env, NO_COLOR: '1', NODE_OPTIONS: '', NODE_TEST_CONTEXT: undefined };

function command(args: readonly string[], input = ''): { code: number | null; out: string; err: string } {
  const options = { encoding: 'utf8', env: environment, cwd: keepalivedFolder, input, timeout: 60_000 } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [built('cli/main'), ...args], options);
  return { code: status, out: stdout, err: stderr };
}

/** Files are named as an operator does who stands in their folder. */
const inFolder = {
  match: (pattern: string, folder: string) =>
    DISK.match(pattern, resolve(keepalivedFolder, folder)).map((path) => path.replace(`${keepalivedFolder}/`, '')),
  read: (path: string) => DISK.read(join(keepalivedFolder, path)),
};

test('every keepalived.conf becomes the configuration beside it, which check accepts', () => {
  const all = keepalivedShapes();
  assert.ok(all.length >= 12);
  for (const { name, path, text, options } of all) {
    const golden = join(keepalivedFolder, `${name}.yaml`);
    const { yaml, accepted, problems } = importKeepalived({
      config: { text, name: basename(path) },
      files: inFolder,
      ...options,
    });
    if (process.env.WRITE_GOLDEN === '1') writeFileSync(golden, yaml);
    assert.deepEqual(problems, [], name);
    assert.equal(yaml, readFileSync(golden, 'utf8'), name);
    assert.ok(accepted, name);
  }
});

test('keepalived accepts each of these files without a word', needs('root', 'namespaces', 'keepalived'), () => {
  // A namespace without a name: it goes with its process. Only the files of keepalived's VRRP need the interface.
  const each = keepalivedShapes().map(
    ({ path }) => `echo ${basename(path)}; keepalived -t -i ${CONFIG_ID} -f ${path} || echo refused: $?`,
  );
  const script = ['ip link add eth0 type veth peer name eth1', 'ip link set eth0 up', ...each].join('\n');
  const { stdout, stderr } = spawnSync('unshare', ['-n', 'sh', '-c', script], { encoding: 'utf8', timeout: 30_000 });
  assert.equal(
    `${stdout}${stderr}`,
    `${keepalivedShapes()
      .map(({ path }) => basename(path))
      .join('\n')}\n`,
  );
});

test('the command: what is not the same on standard error, the configuration in the file of -o, never over another', () => {
  const file = join(scratch, 'director.yaml');
  const { code, out, err } = command([
    'import',
    'keepalived',
    'vrrp-pair.conf',
    '-o',
    file,
    '--source',
    '10.255.0.1',
    '--source6',
    'fd00:ffff::1',
  ]);
  assert.equal(code, 0, err);
  assert.equal(out, '');
  assert.equal(readFileSync(file, 'utf8'), readFileSync(join(keepalivedFolder, 'vrrp-pair.yaml'), 'utf8'));
  assert.match(
    err,
    /\n {2}vrrp_instance VI_WEB: there is no VRRP; let a routing daemon on every director announce 192\.0\.2\.50, 192\.0\.2\.51 as long as/,
  );
  assert.match(err, /\n {4}vrrp-pair\.conf:\d+:1\n/);
  assert.match(err, /\nok: 2 of 2 virtual services, 4 real servers, 1 pools\n$/);
  const again = command(['import', 'keepalived', 'vrrp-pair.conf', '-o', file]);
  assert.equal(again.code, 1);
  assert.match(again.err, /director\.yaml is there already \[GD_IMPORT_OUTPUT\]\nhint: /);
});

test('--json and --config-id: every note with its place, also in a file that is included', () => {
  const { code, out } = command(['import', 'keepalived', '--json', 'conditions.conf']);
  assert.equal(code, 0);
  const report = JSON.parse(out);
  const left = report.notes.filter(({ code: one }: { code: string }) => one === 'GD_IMPORT_CONDITION');
  assert.deepEqual(
    left.map(({ line, column }: { line: number; column: number }) => `${line}:${column}`),
    ['4:1', '5:1', '7:1', '8:1', '14:1', '15:1', '16:1', '17:1'],
  );
  const included = JSON.parse(command(['import', 'keepalived', '--json', 'includes.conf']).out);
  assert.deepEqual(
    included.services.map(({ file, line }: { file: string; line: number }) => [basename(file), line]),
    [
      ['10-web.inc', 1],
      ['20-api.inc', 1],
      ['api.list', 1],
    ],
  );
});

test('what can not be read is refused with file, line and column', () => {
  const broken = join(scratch, 'broken.conf');
  const text = readFileSync(join(keepalivedFolder, 'gue-tunnels.conf'), 'utf8');
  writeFileSync(
    broken,
    text.replace('        TCP_CHECK {\n        }\n', '        TCP_CHECK {\n').replace('weight 5', 'weight many'),
  );
  const { code, out, err } = command(['import', 'keepalived', broken]);
  assert.equal(code, 1);
  assert.equal(out, '');
  assert.equal(
    err,
    `${broken}:11:35 the block "real_server 198.51.100.21 443" is not closed before "real_server" in line 15 [GD_IMPORT_BRACES]\n` +
      `${broken}:21:16 "many" is not a value of weight: a whole number from 0 to 2147483647 [GD_IMPORT_VALUE]\n`,
  );
  assert.match(
    command(['import', 'keepalived', join(scratch, 'none.conf')]).err,
    /none\.conf: the file does not exist \[GD_IMPORT_FILE\]/,
  );
  assert.match(
    command(['import', 'keepalived', '-'], '! nothing\n').err,
    /^standard input:1:1 no virtual_server in it.*\[GD_IMPORT_EMPTY\]\n$/,
  );
});
