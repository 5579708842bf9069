// What `run` changes on a host and gives back, in network namespaces of this process's own.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { after, test } from 'node:test';
import type { CodedError } from '../../src/base/errors.ts';
import { clean, renderClean } from '../../src/host/clean.ts';
import { linkByName } from '../../src/host/links.ts';
import { Ownership } from '../../src/host/ownership.ts';
import { HostWatch } from '../../src/host/watch.ts';
import { closeDescriptor } from '../../src/raw-socket/file.ts';
import { openTunQueue } from '../../src/raw-socket/tun.ts';
import { needs } from '../needs.ts';
import { Namespace, run } from './namespace.ts';
import { service, wanted } from './wanted.ts';

const namespaces: Namespace[] = [];
after(() => {
  for (const namespace of namespaces) namespace.close();
});
function fresh(): Namespace {
  const namespace = new Namespace();
  namespaces.push(namespace);
  return namespace;
}

const packet = { ingress: { driver: 'packet', interface: 'lo' } } as const;

test('release leaves the namespace as acquire found it', needs('root', 'namespaces', 'tun', 'nft'), () => {
  const host = fresh();
  const before = host.state();
  host.inside(() => {
    const queue = openTunQueue('gd0');
    const ownership = new Ownership();
    assert.deepEqual(ownership.acquire(wanted({})), []);
    const device = linkByName('gd0');
    assert.equal(device?.mtu, 65535);
    assert.equal(device?.queueLength, 10000);
    assert.equal(device?.up, true);
    assert.match(run('ip route show proto 77'), /^203\.0\.113\.0\/24 dev gd0 scope link/m);
    assert.match(run('ip route show proto 77'), /^blackhole 203\.0\.113\.0\/24 metric 4294967294/m);
    assert.match(run('ip -6 route show proto 77'), /^2001:db8:1::\/48 dev gd0 metric 1024/m);
    assert.match(run('ip -6 route show proto 77'), /^blackhole 2001:db8:1::\/48 dev lo metric 4294967294/m);
    assert.match(run('nft list table inet gue_director'), /ip6 daddr 2001:db8:1::\/48 notrack/);
    assert.match(run('nft list table inet gue_director'), /udp dport 6080 notrack/);
    assert.doesNotMatch(run('ip -6 addr show dev gd0'), /fe80/);
    assert.match(run('ss -xlH'), /@gue-director/);
    // A second acquire changes nothing.
    const during = host.state();
    ownership.acquire(wanted({}));
    assert.equal(host.state(), during);
    assert.deepEqual(ownership.release(), []);
    closeDescriptor(queue);
  });
  assert.equal(host.state(), before);
});

test(
  'silence needs no device; what it added goes with a start that fails, what a crashed predecessor left stays',
  needs('root', 'namespaces', 'tun', 'nft'),
  () => {
    const host = fresh();
    const silenced = () => run('ip route show proto 77') + run('ip -6 route show proto 77');
    host.inside(() => {
      const before = host.state();
      const ownership = new Ownership();
      ownership.lock();
      ownership.silence(wanted({}));
      const both = silenced();
      assert.match(
        both,
        /^blackhole 203\.0\.113\.0\/24 metric 4294967294[\s\S]*^blackhole 2001:db8:1::\/48 dev lo metric 4294967294/m,
      );
      // No device gd0: the start fails here.
      assert.throws(() => ownership.acquire(wanted({})), { code: 'GD_HOST_NO_INTERFACE' });
      assert.equal(host.state(), before);

      run('ip route add blackhole 203.0.113.0/24 proto 77 metric 4294967294');
      const left = silenced();
      const second = new Ownership();
      second.lock();
      second.silence(wanted({}));
      assert.equal(silenced(), both);
      assert.deepEqual(second.release(), []);
      assert.equal(silenced(), left);

      // One that can not go on leaves the blackholes, also to whoever starts next; a stop after that takes them too.
      const third = new Ownership();
      third.acquire(wanted({ ...packet }));
      assert.deepEqual(third.release({ keepBlackholes: true }), []);
      assert.equal(silenced(), both);
      assert.doesNotMatch(run('nft list tables'), /gue_director/);
      const fourth = new Ownership();
      fourth.acquire(wanted({ ...packet }));
      assert.deepEqual(fourth.release(), []);
      assert.equal(host.state(), before);
    });
  },
);

test('release succeeds after the device is gone, and twice', needs('root', 'namespaces', 'tun', 'nft'), () => {
  const host = fresh();
  const before = host.state();
  host.inside(() => {
    const queue = openTunQueue('gd0');
    const ownership = new Ownership();
    ownership.acquire(wanted({}));
    closeDescriptor(queue);
    assert.deepEqual(ownership.release(), []);
    assert.deepEqual(ownership.release(), []);
  });
  assert.equal(host.state(), before);
});

test('apply makes the difference only, repairs, and switches the driver', needs('root', 'namespaces', 'tun', 'nft'), () => {
  fresh().inside(() => {
    const queue = openTunQueue('gd0');
    const ownership = new Ownership();
    ownership.acquire(wanted({ services: [service('203.0.113.0/24'), service('198.51.100.1/32')] }));
    const watch = new HostWatch();
    assert.equal(watch.poll().routes, false);
    // Nested prefixes, and a service gone.
    ownership.apply(wanted({ services: [service('203.0.113.0/24'), service('203.0.113.7/32'), service('203.0.113.7/32')] }));
    assert.equal(watch.poll().routes, true);
    const routes = run('ip route show proto 77');
    assert.equal(routes.trim().split('\n').length, 4);
    assert.doesNotMatch(routes, /198\.51/);
    // Somebody else removes one: the next apply brings it back.
    run('ip route del 203.0.113.7/32 dev gd0');
    run('nft delete table inet gue_director');
    const same = wanted({ services: [service('203.0.113.0/24'), service('203.0.113.7/32')] });
    ownership.apply(same);
    assert.match(run('ip route show proto 77'), /^203\.0\.113\.7 dev gd0/m);
    assert.match(run('nft list ruleset'), /gue_director/);
    ownership.apply(wanted({ ...packet }));
    assert.equal(run('ip route show proto 77').trim(), 'blackhole 203.0.113.0/24 metric 4294967294');
    ownership.apply(wanted({ ingress: { driver: 'memory' } }));
    assert.equal(run('ip route show proto 77'), '');
    assert.equal(run('nft list ruleset'), '');
    watch.close();
    ownership.release();
    closeDescriptor(queue);
  });
});

test('a failed acquire gives back what it had done and says why', needs('root', 'namespaces', 'tun', 'nft'), () => {
  const host = fresh();
  host.inside(() => {
    assert.throws(() => new Ownership().acquire(wanted({})), { code: 'GD_HOST_NO_INTERFACE' });
    run('ip link add gd0 type veth peer name gd1');
    assert.throws(() => new Ownership().acquire(wanted({})), { code: 'GD_HOST_NOT_TUN' });
    run('ip link del gd0');
    const queue = openTunQueue('gd0');
    run('ip link set gd0 up');
    run('ip route add 198.51.100.0/24 dev gd0');
    // IPv4 only: the kernel itself adds the device's link-local routes after a while.
    const before = run('ip -4 route show table all');
    assert.throws(
      () => new Ownership().acquire(wanted({ services: [service('203.0.113.0/24'), service('198.51.100.0/24')] })),
      (error: CodedError) =>
        error.code === 'GD_HOST_ROUTE_TAKEN' && error.message.includes('198.51.100.0/24') && error.hint !== '',
    );
    assert.equal(run('ip -4 route show table all'), before);
    assert.doesNotMatch(run('ss -xlH'), /gue-director/);
    closeDescriptor(queue);
  });
});

test(
  'a start that fails leaves a crashed predecessor’s blackholes: they still protect',
  needs('root', 'namespaces', 'nft'),
  () => {
    fresh().inside(() => {
      run('ip route add blackhole 203.0.113.0/24 proto 77 metric 4294967294');
      const locked = new Ownership();
      locked.lock();
      assert.deepEqual(locked.release(), []);
      assert.throws(() => new Ownership().acquire(wanted({})), { code: 'GD_HOST_NO_INTERFACE' });
      assert.equal(run('ip route show proto 77').trim(), 'blackhole 203.0.113.0/24 metric 4294967294');
      // The lock is free again.
      const next = new Ownership();
      next.acquire(wanted({ ...packet }));
      next.release();
      assert.equal(run('ip route show proto 77'), '');
    });
  },
);

test(
  'kill -9 leaves what clean lists and removes; the next start adopts it',
  needs('root', 'namespaces', 'tun', 'nft'),
  async (t) => {
    const host = fresh();
    const before = host.state();
    const director = `
    const { openTunQueue } = await import('${new URL('../../src/raw-socket/tun.ts', import.meta.url)}');
    const { Ownership } = await import('${new URL('../../src/host/ownership.ts', import.meta.url)}');
    const { wanted } = await import('${new URL('./wanted.ts', import.meta.url)}');
    openTunQueue('gd0');
    new Ownership().acquire(wanted({}));
    console.log('ready');
    setInterval(() => {}, 1000);`;
    const child = host.inside(() =>
      spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', director], {
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    );
    t.after(() => child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    host.inside(() => {
      const names = (error: CodedError) =>
        error.code === 'GD_HOST_OWNED' && error.message.includes(`process ${child.pid} of user ${process.getuid?.()}`);
      assert.throws(() => new Ownership().acquire(wanted({ ...packet })), names);
      assert.throws(() => clean({ dryRun: false }), names);
      assert.throws(() => clean({ dryRun: true }), names);
    });
    // A rejected rival must not have touched the owner's routes.
    assert.match(
      host.inside(() => run('ip route show proto 77')),
      /dev gd0/,
    );
    child.kill('SIGKILL');
    await once(child, 'exit');

    host.inside(() => {
      const listed = clean({ dryRun: true });
      const texts = listed.found.map(({ text }) => text);
      assert.deepEqual(texts, [
        'blackhole 203.0.113.0/24 proto 77 metric 4294967294',
        'blackhole 2001:db8:1::/48 proto 77 metric 4294967294',
        'table inet gue_director',
      ]);
      assert.match(renderClean(listed, true), /would remove blackhole 203\.0\.113\.0\/24/);
      // The next start takes over: nothing is added twice, and its release removes the leftovers as its own.
      const next = new Ownership();
      next.acquire(wanted({ ...packet, services: [service('203.0.113.0/24')] }));
      assert.equal(run('ip -6 route show proto 77'), '');
      next.lock();
      assert.deepEqual(next.release(), []);
    });
    assert.equal(host.state(), before);
  },
);

test(
  'clean removes exactly what it lists, by its own hand or by the commands it prints',
  needs('root', 'namespaces', 'nft'),
  () => {
    const host = fresh();
    const crash = () => {
      // What a killed director leaves: tags only, no lock. Another program's blackhole and table must stay.
      const ownership = new Ownership();
      ownership.acquire(wanted({ ...packet }));
      const routes = [
        'blackhole 203.0.113.0/24 proto 77 metric 4294967294',
        'blackhole 2001:db8:1::/48 proto 77 metric 4294967294',
      ];
      ownership.release();
      run(`ip route add ${routes[0]}`);
      run(`ip -6 route add ${routes[1]}`);
      run('ip route add blackhole 192.0.2.0/24 proto 77 table 900');
      run('nft add table inet gue_director');
    };
    host.inside(() => {
      run('ip route add blackhole 198.51.100.0/24 metric 4294967294');
      run('nft add table inet other');
    });
    const before = host.state();
    host.inside(() => {
      assert.equal(renderClean(clean({ dryRun: false }), false), 'nothing to clean\n');
      crash();
      const report = clean({ dryRun: false });
      assert.equal(report.removed.length, 4);
      assert.deepEqual(report.failed, []);
    });
    assert.equal(host.state(), before);
    host.inside(() => {
      crash();
      run('ip route del blackhole 192.0.2.0/24 proto 77 table 900');
      for (const { command } of clean({ dryRun: true }).found) run(command);
      assert.deepEqual(clean({ dryRun: true }).found, []);
    });
    assert.equal(host.state(), before);
  },
);

test(
  'clean --dry-run without privilege lists the routes, says that nftables is unknown, and exits with 77',
  needs('root', 'namespaces', 'nft'),
  () => {
    const main = new URL('../../src/cli/main.ts', import.meta.url).pathname;
    fresh().inside(() => {
      run('ip route add blackhole 203.0.113.0/24 proto 77 metric 4294967294');
      // Root without a single capability: as any user, but it can read the sources wherever they lie.
      const ran = spawnSync(
        'setpriv',
        ['--bounding-set=-all', '--inh-caps=-all', process.execPath, '--import', 'tsx', main, 'clean', '--dry-run'],
        { encoding: 'utf8' },
      );
      assert.match(
        ran.stdout,
        /^would remove blackhole 203\.0\.113\.0\/24 proto 77.*\n.*by hand.*\nunknown: nftables: .*not permitted\n$/,
      );
      assert.match(ran.stderr, /\[GD_HOST_CLEAN\]\nhint: .*CAP_NET_ADMIN/);
      assert.equal(ran.status, 77);
    });
  },
);
