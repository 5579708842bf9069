// The systemd unit: its commands exist, its privileges suffice, and nothing in it breaks Node or the TUN driver.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { STUCK_AFTER } from '../../src/daemon/forwarding-threads.ts';
import { nodeCommand } from '../../src/demo/cast.ts';
import { needs } from '../needs.ts';
import { buildLab, configuration, eventually, sendDatagrams } from './running-director.ts';

const text = readFileSync(resolve(import.meta.dirname, '../../deploy/systemd/gue-director.service'), 'utf8');
const settings = text
  .split('\n')
  .filter((line) => /^[A-Z]\w+=/.test(line))
  .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const);
const setting = (name: string) => settings.filter(([key]) => key === name).map(([, value]) => value);

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

test('systemd rates its exposure 2.5 or less', needs('systemd'), () => {
  const unit = resolve(import.meta.dirname, '../../deploy/systemd/gue-director.service');
  // The threshold counts tenths; above it the exit code is 1.
  const rated = spawnSync('systemd-analyze', ['security', '--offline=true', '--no-pager', '--threshold=25', unit], {
    encoding: 'utf8',
  });
  assert.equal(rated.status, 0, rated.stdout.split('\n').slice(-3).join('\n') + rated.stderr);
});

test(
  "a user with the unit's capabilities and no other right can run it, and every thread has just those",
  needs('root', 'namespaces', 'tun'),
  async (t) => {
    const lab = buildLab(t, 1);
    const folder = mkdtempSync(join(tmpdir(), 'gue-director-unit-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    chmodSync(folder, 0o755);
    const file = join(folder, 'director.yaml');
    writeFileSync(file, configuration(lab, { threads: 2 }));
    const capabilities = setting('AmbientCapabilities')[0]
      .split(' ')
      .map((name) => `+${name.replace('CAP_', '').toLowerCase()}`)
      .join(',');
    const [node, parameters] = nodeCommand('../cli/main', 'run', '--config', file);
    const rights = [
      `--bounding-set=-all,${capabilities}`,
      `--inh-caps=-all,${capabilities}`,
      `--ambient-caps=-all,${capabilities}`,
    ];
    const user = ['--reuid=64999', '--regid=64999', '--clear-groups', '--no-new-privs'];
    // `ip netns exec` gives each command a mount namespace of its own: in it, the device gets the rights that udev's rules give it, and the
    // tree and Node a place that every user may enter (a clone below /root or in a private folder is none).
    const root = resolve(import.meta.dirname, '../..');
    const tree = join(folder, 'tree');
    mkdirSync(tree);
    writeFileSync(join(folder, 'node'), '');
    const prepare =
      `mount --bind '${root}' '${tree}' && mount --bind '${node}' '${join(folder, 'node')}' && ` +
      `mount -t tmpfs -o mode=755 none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && cd '${tree}' && exec "$@"`;
    const command = [join(folder, 'node'), ...parameters.map((word) => word.replace(root, tree))];
    const child = lab.director.spawn('sh', ['-c', prepare, 'sh', 'setpriv', ...user, ...rights, ...command], {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: folder,
      env: { ...process.env, HOME: folder },
    });
    t.after(() => child.kill('SIGKILL'));
    let words = '';
    child.stderr?.setEncoding('utf8').on('data', (part: string) => {
      words += part;
    });
    const ended = new Promise<number | null>((done) => child.once('close', (code) => done(code)));
    await Promise.race([
      eventually(() => words.includes('"event":"ready"'), 'ready', 40_000).catch((error) =>
        assert.fail(`${error.message}\n${words}`),
      ),
      ended.then((code) => assert.fail(`ended with ${code}\n${words}`)),
    ]);
    // CAP_NET_ADMIN is bit 12, CAP_NET_RAW bit 13 (include/uapi/linux/capability.h).
    const tasks = readdirSync(`/proc/${child.pid}/task`);
    assert.ok(tasks.length > 3);
    for (const task of tasks) {
      const status = readFileSync(`/proc/${child.pid}/task/${task}/status`, 'utf8');
      assert.equal(/^CapEff:\s*(\S+)$/m.exec(status)?.[1], '0000000000003000');
      assert.equal(/^CapBnd:\s*(\S+)$/m.exec(status)?.[1], '0000000000003000');
    }
    sendDatagrams(lab, lab.vip4, 53, 5, 2);
    child.kill('SIGTERM');
    assert.equal(await ended, 0, words);
    assert.deepEqual(lab.leftovers(), []);
  },
);
