// Each file of rules becomes the configuration beside it, byte for byte, and `check` accepts it. After a change that is meant:
//   WRITE_GOLDEN=1 node --import tsx --test test/import/import.test.ts        and read the difference

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { loadText } from '../../src/config/load.ts';
import { nodeCommand } from '../../src/demo/cast.ts';
import type { ImportError } from '../../src/import/imported.ts';
import { importIpvs } from '../../src/import/ipvs.ts';
import { packet } from '../builder/packet.ts';
import { writeCapture } from '../reference/capture-file.ts';
import { folder, MARKS, manyServices, SOURCES, shapes } from './shapes.ts';

const CLI = nodeCommand('../cli/main')[1];
const scratch = mkdtempSync(join(tmpdir(), 'gue-director-import-'));
after(() => rmSync(scratch, { recursive: true }));

const sources = ['--source', SOURCES.source4, '--source6', SOURCES.source6];
const environment = { ...process.env, NO_COLOR: '1', NODE_OPTIONS: '', NODE_TEST_CONTEXT: undefined };

function command(args: readonly string[], input = ''): { code: number | null; out: string; err: string } {
  const options = { encoding: 'utf8', env: environment, cwd: folder, input, timeout: 60_000 } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [...CLI, ...args], options);
  return { code: status, out: stdout, err: stderr };
}

test('every file of rules becomes the configuration beside it, which check accepts', () => {
  const all = shapes();
  assert.ok(all.length >= 8);
  for (const { name, path, text, options } of all) {
    const golden = join(folder, `${name}.yaml`);
    const { yaml, accepted, problems } = importIpvs({ rules: { text, name: basename(path) }, ...options });
    if (process.env.WRITE_GOLDEN === '1') writeFileSync(golden, yaml);
    assert.equal(yaml, readFileSync(golden, 'utf8'), name);
    assert.ok(accepted, name);
    assert.deepEqual(problems, [], name);
    loadText(yaml, golden);
  }
});

test('200 services: every one of them, each with its servers, the same text every time', () => {
  const rules = { text: manyServices(200), name: 'many' };
  const { yaml, accepted, plan } = importIpvs({ rules });
  assert.ok(accepted);
  assert.equal(importIpvs({ rules }).yaml, yaml);
  const { spec } = loadText(yaml, 'many.yaml');
  assert.equal(spec.services.length, 200);
  assert.deepEqual(plan.leftOut, []);
  const pools = new Map(spec.pools.map((pool) => [pool.name, pool]));
  for (const { pool } of spec.services) assert.equal(pools.get(pool)?.backends.length, 7);
});

test('the command: configuration on standard output, what changes on standard error', () => {
  const path = join(folder, 'keepalived-wrr-dr.ipvs');
  const { code, out, err } = command(['import', 'ipvs', 'keepalived-wrr-dr.ipvs', ...sources]);
  assert.equal(code, 0, err);
  assert.equal(out, readFileSync(path.replace('.ipvs', '.yaml'), 'utf8'));
  assert.match(
    err,
    /^Left out:\n {2}127\.0\.0\.1 is loopback.*\[GD_IMPORT_SERVER_LEFT_OUT\]\n {4}keepalived-wrr-dr\.ipvs:16:1 -t 203\.0\.113\.82:8080 127\.0\.0\.1:8080\n/,
  );
  assert.match(err, /\nWorkers must be prepared:\n/);
  assert.match(err, /\nok: 4 of 4 virtual services, 12 real servers, 3 pools\n$/);
  const file = join(scratch, 'director.yaml');
  writeFileSync(file, out);
  const checked = command(['check', file]);
  assert.equal(checked.code, 0, checked.err);
  assert.match(checked.out, /^ok: 4 services, 3 pools, 7 backends\n/);
});

test('the command reads standard input, and --deny-changes says so by its exit code', () => {
  const same = '-A -t 192.0.2.1:80 -s mh\n-a -t 192.0.2.1:80 -r 10.0.0.1:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum\n';
  assert.equal(command(['import', 'ipvs', '--deny-changes'], same).code, 0);
  const { code, out } = command(['import', 'ipvs', '--deny-changes'], same.replace('-s mh', '-s wlc'));
  assert.equal(code, 1);
  assert.match(out, /^# Imported from standard input /);
});

test('--json: every note with its place', () => {
  const marks = MARKS.flatMap((mark) => ['--fwmark', mark]);
  const { code, out } = command(['import', 'ipvs', '--json', ...marks, 'marks.ipvs']);
  assert.equal(code, 0);
  const report = JSON.parse(out);
  assert.equal(report.ok, true);
  assert.deepEqual(report.leftOut, [{ line: 7, rule: '-f 9 -s dh' }]);
  assert.deepEqual(
    report.services.map(({ name, pool }: { name: string; pool: string }) => [name, pool]),
    [
      ['fwmark-7-1', 'shared-1'],
      ['fwmark-7-2', 'shared-1'],
      ['fwmark-8', 'fwmark-8'],
    ],
  );
  const left = report.notes.find(({ kind }: { kind: string }) => kind === 'left-out');
  assert.deepEqual([left.line, left.column, left.code, left.service], [7, 1, 'GD_IMPORT_FWMARK', '-f 9']);
  loadText(report.yaml, 'marks.yaml');
});

test('what can not be read is refused with line and column', () => {
  const { code, out, err } = command(['import', 'ipvs'], '-A -t web.example:80 -s rr\n-A -t 192.0.2.1:http\n');
  assert.equal(code, 1);
  assert.equal(out, '');
  assert.equal(
    err,
    'standard input:1:7 "web.example" is a name, not an address: save with "ipvsadm-save -n" [GD_IMPORT_NAME]\n' +
      'standard input:2:17 "http" is the name of a port: save with "ipvsadm-save -n" [GD_IMPORT_NAME]\n',
  );
  const empty = command(['import', 'ipvs'], '# nothing\n');
  assert.match(empty.err, /^standard input:1:1 no virtual service in it.*\[GD_IMPORT_EMPTY\]\n$/);
  const mark = command(['import', 'ipvs', '--fwmark', '7=80'], '-A -f 7\n');
  assert.deepEqual([mark.code, /\[GD_IMPORT_MARK\]\nhint: write for example --fwmark 7=tcp:/.test(mark.err)], [2, true]);
  assert.equal(command(['import', 'ipvs', '--mh-table-size', '4096'], '-A -f 7\n').code, 2);
});

test('what replay shows of a pool whose servers have tunnels of four kinds', () => {
  const capture = join(scratch, 'in.pcap');
  const flows = Array.from({ length: 40 }, (_, i) => ({ src: `10.0.${i}.7`, dst: '192.0.2.20' }));
  writeCapture(
    capture,
    flows.map((ends) => packet().ipv4(ends).tcp({ dport: 80, flags: 'SYN' }).bytes()),
  );
  const { code, out, err } = command(['replay', '--json', '-c', 'mixed-tunnels.yaml', capture]);
  assert.equal(code, 0, err);
  const told = out
    .trimEnd()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
  assert.equal(told.length, 40);
  // 198.51.100.21: ipip; .22 and .23: gre, the second with a checksum; .24: gue; .25 had no tunnel.
  const kinds = [
    ...new Set(told.map((one) => [one.address, one.encapsulation, one.encapsulatedLength - 40, 'sourcePort' in one].join(' '))),
  ];
  assert.deepEqual(kinds.sort(), [
    '198.51.100.21 ipip 20 false',
    '198.51.100.22 gre 24 false',
    '198.51.100.23 gre 28 false',
    '198.51.100.24 gue 32 true',
    '198.51.100.25 gue 32 true',
  ]);
});

test('a file that holds no rules: twenty lines of problems, and how many more there are', () => {
  const rules = { text: Array.from({ length: 500 }, (_, i) => `line ${i} of a log`).join('\n'), name: 'syslog' };
  assert.throws(
    () => importIpvs({ rules }),
    ({ problems }: ImportError) => {
      assert.equal(problems.length, 21);
      assert.deepEqual([problems[20].line, problems[20].code], [21, 'GD_IMPORT_MORE']);
      assert.match(problems[20].message, /^and 480 more such lines; .*ipvsadm-save -n/);
      return true;
    },
  );
  assert.throws(
    () => importIpvs({ rules: { ...rules, text: rules.text.split('\n').slice(0, 20).join('\n') } }),
    ({ problems }: ImportError) => problems.length === 20 && problems[19].line === 20,
  );
});
