import assert from 'node:assert/strict';
import { chmodSync, linkSync, lstatSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { needs } from '../../test/needs.ts';
import { type Credentials, capabilitySet, findGroup, findUser, readCredentials } from '../raw-socket/privileges.ts';
import { neededCapabilities, stepFor } from './privileges.ts';
import { handOver } from './privileges-files.ts';

const NEEDED = capabilitySet(['CAP_NET_ADMIN', 'CAP_NET_RAW']);
const ALL = (1n << 41n) - 1n;
const USER = { id: 64999, group: 64999, name: '' };

const root: Credentials = {
  user: 0,
  group: 0,
  inheritable: 0n,
  permitted: ALL,
  effective: ALL,
  bounding: ALL,
  ambient: 0n,
  noNewPrivileges: false,
};
/** As systemd starts it. */
const service: Credentials = {
  user: 64999,
  group: 64999,
  inheritable: NEEDED,
  permitted: NEEDED,
  effective: NEEDED,
  bounding: NEEDED,
  ambient: NEEDED,
  noNewPrivileges: true,
};

test('root becomes the configured user with what is needed, and stays root only when nobody is named', () => {
  assert.deepEqual(stepFor(root, USER, NEEDED, false), { kind: 'execute', user: USER, keep: NEEDED });
  assert.deepEqual(stepFor(root, null, NEEDED, false), { kind: 'stay-root' });
  assert.deepEqual(stepFor(root, { ...USER, id: 0 }, NEEDED, false), { kind: 'stay-root' });
  // A container's root that was never given CAP_NET_RAW can not keep it.
  const poor = { ...root, permitted: capabilitySet(['CAP_NET_ADMIN', 'CAP_SETUID', 'CAP_SETGID']) };
  assert.deepEqual(stepFor(poor, USER, NEEDED, false), { kind: 'execute', user: USER, keep: capabilitySet(['CAP_NET_ADMIN']) });
  // Whoever sets the mark by hand gains nothing by it.
  assert.equal(stepFor(root, USER, NEEDED, true).kind, 'execute');
});

test('what a service manager has settled stays, what it gave too much of is given up, at most once', () => {
  assert.deepEqual(stepFor(service, USER, NEEDED, false), { kind: 'stay' });
  const more: [string, Partial<Credentials>][] = [
    ['no-new-privs is missing', { noNewPrivileges: false }],
    ['a capability more', { permitted: NEEDED | 1n }],
    ['not inherited by nft', { ambient: 0n }],
    ['not effective', { effective: 0n }],
  ];
  for (const [what, change] of more) {
    const now = { ...service, ...change };
    assert.deepEqual(stepFor(now, USER, NEEDED, false), { kind: 'execute', user: null, keep: NEEDED }, what);
    assert.deepEqual(stepFor(now, USER, NEEDED, true), { kind: 'stay' }, `${what}, again`);
  }
  assert.deepEqual(stepFor({ ...service, user: 64998 }, USER, NEEDED, false), { kind: 'stay' });
});

test('capabilities by driver, and one more for a low port', () => {
  const listen = { metrics: null };
  const file = { driver: 'pcap-file', path: 'x' } as const;
  const tun = { driver: 'tun', device: 'gd0', queueLength: 1 } as const;
  const names = (config: Parameters<typeof neededCapabilities>[0]) => neededCapabilities(config).join(' ');
  assert.equal(names({ ingress: tun, egress: { driver: 'raw' }, listen }), 'CAP_NET_ADMIN CAP_NET_RAW');
  assert.equal(
    names({ ingress: { driver: 'packet', interface: 'e', ring: 'frames' }, egress: file, listen }),
    'CAP_NET_ADMIN CAP_NET_RAW',
  );
  assert.equal(
    names({ ingress: { driver: 'xdp', interface: 'e', zeroCopy: false }, egress: file, listen }),
    'CAP_NET_ADMIN CAP_NET_RAW CAP_BPF',
  );
  assert.equal(names({ ingress: file, egress: { driver: 'raw' }, listen }), 'CAP_NET_RAW');
  assert.equal(names({ ingress: file, egress: { driver: 'tap-offload', device: 'x' }, listen }), 'CAP_NET_ADMIN');
  assert.equal(names({ ingress: file, egress: file, listen }), '');
  const low = { metrics: { host: '127.0.0.1', port: 1 } };
  assert.equal(names({ ingress: file, egress: file, listen: low }), 'CAP_NET_BIND_SERVICE');
});

test('credentials are read as the kernel writes them', () => {
  const text =
    'Uid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\nCapInh:\t0000000000003000\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000001000\nCapBnd:\t0000000000002000\nCapAmb:\t0000000000000400\nNoNewPrivs:\t1\n';
  assert.deepEqual(readCredentials(text), {
    user: 1001,
    group: 6,
    inheritable: 0x3000n,
    permitted: ALL,
    effective: 0x1000n,
    bounding: 0x2000n,
    ambient: 0x400n,
    noNewPrivileges: true,
  });
  assert.equal(readCredentials().user, process.geteuid?.());
});

test('users and groups by name and number', () => {
  assert.deepEqual(findUser('root'), { id: 0, group: 0, name: 'root' });
  assert.deepEqual(findUser(0), { id: 0, group: 0, name: 'root' });
  assert.equal(findUser('gue-director-nobody-has-this-name'), null);
  assert.deepEqual(findUser(64_998_001), { id: 64_998_001, group: 64_998_001, name: '' });
  assert.equal(findGroup('root'), 0);
  assert.equal(findGroup(77), 77);
  assert.equal(findGroup('gue-director-nobody-has-this-name'), null);
});

test('root hands its runtime directory over with its own files, and follows no link', needs('root'), (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-privileges-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  const before = process.env.RUNTIME_DIRECTORY;
  t.after(() => {
    if (before === undefined) delete process.env.RUNTIME_DIRECTORY;
    else process.env.RUNTIME_DIRECTORY = before;
  });
  const run = join(folder, 'run');
  process.env.RUNTIME_DIRECTORY = run;
  const secret = join(folder, 'secret');
  writeFileSync(secret, '');
  mkdirSync(run);
  writeFileSync(join(run, 'flows'), '');
  linkSync(secret, join(run, 'hard'));
  symlinkSync(secret, join(run, 'soft'));
  const capture = join(folder, 'out.pcap');
  handOver({ egress: { driver: 'pcap-file', path: capture } }, 64999, 64998);
  const owner = (path: string) => [lstatSync(path).uid, lstatSync(path).gid];
  for (const path of [run, join(run, 'flows'), capture]) assert.deepEqual(owner(path), [64999, 64998], path);
  for (const path of [secret, join(run, 'soft')]) assert.deepEqual(owner(path), [0, 0], path);

  // It is the user's now: what the user puts there is not given away by the next start as root.
  writeFileSync(join(run, 'later'), '');
  handOver({ egress: { driver: 'raw' } }, 64999, 64998);
  assert.deepEqual(owner(join(run, 'later')), [0, 0]);

  rmSync(run, { recursive: true });
  handOver({ egress: { driver: 'raw' } }, 64999, 64998);
  assert.deepEqual(owner(run), [64999, 64998]);
  assert.equal(statSync(run).mode & 0o777, 0o750);
});
