// The periodic look at the host, with a clock of the test's own: sysctls and rules change without a word from the kernel.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostKeeper } from '../../src/daemon/host-keeper.ts';
import { EventJournal } from '../../src/observe/events.ts';
import { createLog } from '../../src/observe/log.ts';
import { boottimeClock } from '../../src/raw-socket/clock.ts';
import { closeDescriptor } from '../../src/raw-socket/file.ts';
import { openTunQueue } from '../../src/raw-socket/tun.ts';
import { Namespace, run, setSysctl } from '../host/namespace.ts';
import { wanted } from '../host/wanted.ts';
import { needs } from '../needs.ts';

test(
  'every thirty seconds: a deleted table comes back, a setting that stops traffic is a reason, each told once',
  needs('root', 'namespaces', 'nft'),
  (t) => {
    const host = new Namespace();
    const other = new Namespace();
    host.connect('eth0', other, 'eth0');
    t.after(() => {
      host.close();
      other.close();
    });
    const lines: { finding?: string; level: string; msg: string }[] = [];
    const log = createLog({ level: 'info', format: 'json', write: (line) => lines.push(JSON.parse(line)) });
    let now = 1_000_000;
    const clock = Object.assign(boottimeClock(), { milliseconds: () => now });
    let links = 0;
    let routes = 0;
    const keeper = new HostKeeper({
      log,
      journal: new EventJournal(log),
      clock,
      linksChanged: () => links++,
      routesChanged: () => routes++,
    });
    const want = wanted({ ingress: { driver: 'packet', interface: 'eth0' } });
    const seconds = (count: number): void => {
      for (let i = 0; i < count; i++) {
        now += 1000;
        keeper.tend();
      }
    };
    host.inside(() => {
      keeper.examine(want);
      keeper.silence(want);
      const blackholes = run('ip route show proto 77');
      assert.match(blackholes, /^blackhole 203\.0\.113\.0\/24/, 'before anything is opened');
      keeper.take(want);
      assert.deepEqual(keeper.reasons(), []);
      const tables = run('nft list tables');
      if (/gue_director/.test(tables)) {
        run('nft delete table inet gue_director');
        seconds(31);
        assert.equal(run('nft list tables'), tables);
      } else {
        t.diagnostic('conntrack is not loaded: there is no table to delete');
        seconds(31);
      }

      const seen = routes;
      run('ip route add 192.0.2.128/25 dev eth0');
      seconds(1);
      assert.equal(routes, seen + 1, 'told at once');

      const before = lines.length;
      setSysctl('net/ipv6/conf/all/disable_ipv6', 1);
      seconds(100);
      assert.match(keeper.reasons().join(), /disable_ipv6 is 1/);
      setSysctl('net/ipv6/conf/all/disable_ipv6', 0);
      seconds(31);
      assert.deepEqual(keeper.reasons(), []);
      assert.deepEqual(
        lines
          .slice(before)
          .filter(({ finding }) => finding === 'ipv6-disabled')
          .map(({ level }) => level),
        ['error', 'info'],
        'once when it comes, once when it goes',
      );
      assert.ok(links === 0 || lines.length > 0);

      keeper.close();
      assert.deepEqual(keeper.release({ keepBlackholes: true }), []);
      assert.equal(run('ip route show proto 77'), blackholes, 'a director that can not go on leaves the services silenced');
      assert.doesNotMatch(run('nft list tables'), /gue_director/);
      keeper.silence(want);
      keeper.take(want);
      keeper.close();
      assert.deepEqual(keeper.release({ keepBlackholes: false }), []);
      assert.equal(run('ip route show proto 77'), '');
    });
  },
);

test(
  'the bridge goes while the director runs: a reason, told once, until it is back and the device its port again',
  needs('root', 'namespaces', 'tun', 'nft'),
  (t) => {
    const host = new Namespace();
    t.after(() => host.close());
    const lines: { event?: string; msg: string }[] = [];
    const log = createLog({ level: 'info', format: 'json', write: (line) => lines.push(JSON.parse(line)) });
    let now = 1_000_000;
    const clock = Object.assign(boottimeClock(), { milliseconds: () => now });
    const nothing = () => {};
    const keeper = new HostKeeper({ log, journal: new EventJournal(log), clock, linksChanged: nothing, routesChanged: nothing });
    const want = wanted({ ingress: { driver: 'tap', device: 'gdt0', queueLength: 10_000, bridge: 'br0' } });
    const seconds = (count: number): void => {
      for (let i = 0; i < count; i++) {
        now += 1000;
        keeper.tend();
      }
    };
    host.inside(() => {
      run('ip link add br0 type bridge');
      keeper.silence(want);
      const queue = openTunQueue('gdt0', { kind: 'tap' });
      keeper.take(want);
      assert.match(run('ip -o link show gdt0'), /master br0/);
      run('ip link del br0');
      seconds(29);
      assert.match(keeper.reasons().join(), /there is no network interface "br0"/);
      assert.equal(lines.filter(({ event }) => event === 'host-apply-failed').length, 1, 'told once');
      run('ip link add br0 type bridge');
      seconds(1);
      assert.match(run('ip -o link show gdt0'), /master br0/, 'at once');
      seconds(31);
      assert.deepEqual(
        keeper.reasons().filter((reason) => /br0|gdt0/.test(reason)),
        [],
      );
      keeper.close();
      assert.deepEqual(keeper.release({ keepBlackholes: false }), []);
      closeDescriptor(queue);
    });
  },
);
