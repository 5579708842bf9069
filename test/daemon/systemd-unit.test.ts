// The systemd unit: its commands exist, and nothing in it breaks Node or the TUN driver. That its privileges suffice: test/full/privileges.ts.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { test } from 'node:test';
import { STUCK_AFTER } from '../../src/daemon/forwarding-threads.ts';
import { nodeCommand } from '../../src/demo/cast.ts';
import { needs } from '../needs.ts';
import { setting, settings, UNIT } from './unit-file.ts';

const XDP = resolve(import.meta.dirname, '../../deploy/systemd/xdp.conf');

test('its commands and options exist', () => {
  const commands = settings.filter(([key]) => key.startsWith('Exec'));
  assert.deepEqual(
    commands.map(([key, value]) => `${key} ${value.split(' ')[1]}`),
    // Nothing else: a `clean` after a crash would take the blackholes away while packets come, and a failed `check` before the start
    // would be retried for ever (RestartPreventExitStatus looks at the main process).
    ['ExecStart run', 'ExecReload reload'],
  );
  for (const [, value] of commands) {
    const [program, command, ...options] = value.split(' ');
    assert.equal(program, 'gue-director');
    const [node, parameters] = nodeCommand('../cli/main', command, '--help');
    const help = spawnSync(node, parameters, { encoding: 'utf8' });
    assert.equal(help.status, 0, help.stderr);
    for (const option of options.filter((word) => word.startsWith('--')))
      assert.ok(help.stdout.includes(option), `${command} ${option}`);
  }
});

test('it hardens what it can and nothing that the director needs', () => {
  for (const forbidden of ['MemoryDenyWriteExecute', 'PrivateDevices', 'PrivateNetwork', 'ProcSubset']) {
    assert.deepEqual(setting(forbidden), [], forbidden);
  }
  assert.deepEqual(setting('DeviceAllow'), ['/dev/net/tun rw']);
  assert.deepEqual(setting('AmbientCapabilities'), setting('CapabilityBoundingSet'));
  const families = setting('RestrictAddressFamilies').join(' ').split(' ');
  for (const family of ['AF_INET', 'AF_INET6', 'AF_NETLINK', 'AF_PACKET', 'AF_UNIX'])
    assert.ok(families.includes(family), family);
  assert.deepEqual(setting('RestartPreventExitStatus'), ['77 78']);
  for (const name of ['NoNewPrivileges', 'ProtectKernelTunables', 'RestrictNamespaces', 'RuntimeDirectoryPreserve']) {
    assert.deepEqual(setting(name), ['yes'], name);
  }
});

test('its user is the one that sysusers makes, and the flow file and the socket lie where it says', () => {
  const sysusers = readFileSync(resolve(import.meta.dirname, '../../deploy/sysusers.d/gue-director.conf'), 'utf8');
  const [user] = setting('User');
  assert.match(sysusers, new RegExp(`^u ${user} - `, 'm'));
  assert.deepEqual(setting('Group'), [user]);
  assert.equal(`/run/${setting('RuntimeDirectory')[0]}`, '/run/gue-director');
  assert.deepEqual(setting('RuntimeDirectoryMode'), ['0750']);
});

test('the watchdog leaves main time for large tables, and a silent thread is found before it', () => {
  assert.deepEqual(setting('Type'), ['notify']);
  const seconds = Number(setting('WatchdogSec')[0]);
  assert.ok(seconds > 2 * STUCK_AFTER && seconds <= 30, String(seconds));
});

test('what an xdp driver needs beside it is in its own file, and not in the unit', () => {
  const added = readFileSync(XDP, 'utf8').match(/^[A-Z]\w+=.*$/gm);
  assert.deepEqual(added, [
    'AmbientCapabilities=CAP_BPF',
    'CapabilityBoundingSet=CAP_BPF',
    'SystemCallFilter=bpf',
    'RestrictAddressFamilies=AF_XDP',
    'LimitMEMLOCK=infinity',
  ]);
  const unit = settings.map(([key, value]) => `${key}=${value}`).join('\n');
  assert.doesNotMatch(unit, /BPF|XDP|MEMLOCK/i);
});

test('systemd rates its exposure 2.5 or less, also with that of xdp', needs('systemd'), (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-unit-'));
  t.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, `${basename(UNIT)}.d`));
  copyFileSync(UNIT, join(folder, basename(UNIT)));
  for (const more of [null, XDP]) {
    if (more !== null) copyFileSync(more, join(folder, `${basename(UNIT)}.d`, basename(more)));
    // The threshold counts tenths; above it the exit code is 1.
    const words = ['security', '--offline=true', '--no-pager', '--threshold=25', join(folder, basename(UNIT))];
    const rated = spawnSync('systemd-analyze', words, { encoding: 'utf8' });
    assert.equal(rated.status, 0, rated.stdout.split('\n').slice(-3).join('\n') + rated.stderr);
    // The second one was read.
    assert.equal(/✗ CapabilityBoundingSet=~CAP_BPF/.test(rated.stdout), more !== null);
  }
});
