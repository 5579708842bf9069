// The conversation with the kernel: interfaces, addresses, neighbours, notifications, and errors that name their object.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { addAddress, deleteAddress, listAddresses } from '../../src/host/addresses.ts';
import { linkByIndex, linkByName, listLinks, requireLink, setLink } from '../../src/host/links.ts';
import { listNeighbours } from '../../src/host/neighbours.ts';
import { addOwnRoute, listOwnRoutes } from '../../src/host/routes.ts';
import { HostWatch } from '../../src/host/watch.ts';
import { NamespaceLock } from '../../src/raw-socket/namespace-lock.ts';
import { NetlinkError, withNetlink } from '../../src/raw-socket/netlink.ts';
import { ifinfomsg, RTM_GETLINK } from '../../src/raw-socket/netlink-route.ts';
import { needs } from '../needs.ts';
import { Namespace, run } from './namespace.ts';
import { address, prefix } from './wanted.ts';

const namespaces: Namespace[] = [];
after(() => {
  for (const namespace of namespaces) namespace.close();
});
function pair(): Namespace {
  const [host, other] = [new Namespace(), new Namespace()];
  namespaces.push(host, other);
  host.connect('v0', other, 'v1');
  return host;
}

test('links and addresses are what `ip` says they are', needs('root', 'namespaces'), () => {
  pair().inside(() => {
    const link = requireLink('v0');
    setLink(link, { mtu: 1600, queueLength: 1234, up: false, ipv6LinkLocal: false });
    const [shown] = JSON.parse(run('ip -j -d link show dev v0'));
    assert.equal(shown.mtu, 1600);
    assert.equal(shown.txqlen, 1234);
    assert.equal(shown.inet6_addr_gen_mode, 'none');
    assert.equal(shown.flags.includes('UP'), false);
    assert.deepEqual(linkByName('v0'), {
      index: shown.ifindex,
      name: 'v0',
      mtu: 1600,
      queueLength: 1234,
      up: false,
      running: false,
      loopback: false,
      master: 0,
      kind: 'veth',
    });
    assert.equal(linkByIndex(link.index)?.name, 'v0');
    assert.equal(linkByName('v9'), null);
    assert.deepEqual(
      listLinks()
        .map(({ name }) => name)
        .sort(),
      ['lo', 'v0'],
    );
    addAddress(link, address('10.6.0.1'), 24);
    addAddress(link, address('fd06::1'), 64);
    assert.match(run('ip -4 addr show dev v0'), /inet 10\.6\.0\.1\/24/);
    const found = listAddresses().filter(({ interfaceIndex }) => interfaceIndex === link.index);
    assert.deepEqual(
      found.map(({ address: bytes, prefixLength }) => [[...bytes], prefixLength]),
      [
        [[...address('10.6.0.1')], 24],
        [[...address('fd06::1')], 64],
      ],
    );
    deleteAddress(link, address('10.6.0.1'), 24);
    assert.doesNotMatch(run('ip addr show dev v0'), /10\.6/);
  });
});

test('errors name the object and carry the kernel’s own reason', needs('root', 'namespaces'), () => {
  pair().inside(() => {
    const link = requireLink('v0');
    assert.throws(() => requireLink('v9'), { code: 'GD_HOST_NO_INTERFACE' });
    assert.throws(
      () => setLink(link, { mtu: 10_000_000 }),
      /^CodedError: interface v0: set mtu 10000000: EINVAL \(mtu greater than device maximum\)/,
    );
    assert.throws(() => setLink({ index: 999, name: 'ghost' }, { up: true }), /interface ghost: set up: ENODEV/);
    assert.throws(() => deleteAddress(link, address('10.6.0.9'), 24), /delete address 10\.6\.0\.9\/24 on v0: EADDRNOTAVAIL/);
    setLink(link, { up: false });
    const route = { prefix: prefix('203.0.113.0/24'), type: 'unicast', metric: 0, interfaceIndex: link.index } as const;
    assert.throws(
      () => withNetlink((socket) => addOwnRoute(socket, route, new Map([[link.index, 'v0']]))),
      (error: NetlinkError) =>
        error.message.startsWith('add route 203.0.113.0/24 dev v0 proto 77: ENETDOWN') && error.explanation !== '',
    );
    // The socket stays in step after a refusal.
    withNetlink((socket) => {
      assert.throws(() => socket.get('interface 999', RTM_GETLINK, ifinfomsg(999), []), NetlinkError);
      assert.equal(socket.dump('interfaces', RTM_GETLINK, ifinfomsg(0)).length, 2);
      assert.equal(socket.get('interface 1', RTM_GETLINK, ifinfomsg(1), []).length, 1);
    });
  });
});

test('a dump of many routes comes whole, and only ours', needs('root', 'namespaces'), () => {
  pair().inside(() => {
    const routes = Array.from({ length: 2000 }, (_, i) => prefix(`203.${i >> 8}.${i & 255}.0/24`));
    withNetlink((socket) => {
      for (const each of routes)
        addOwnRoute(socket, { prefix: each, type: 'blackhole', metric: 5, interfaceIndex: 0 }, new Map());
    });
    run('ip route add blackhole 198.51.100.0/24');
    assert.equal(listOwnRoutes().length, 2000);
    assert.equal(run('ip route show proto 77').trim().split('\n').length, 2000);
  });
});

test('notifications say what changed, and only once', needs('root', 'namespaces'), () => {
  pair().inside(() => {
    const watch = new HostWatch();
    const nothing = { links: false, addresses: false, routes: false, neighbours: false };
    watch.poll();
    assert.deepEqual(watch.poll(), nothing);
    run('ip route add blackhole 198.51.100.0/24');
    assert.deepEqual(watch.poll(), { ...nothing, routes: true });
    run('ip link set v0 mtu 1400');
    assert.equal(watch.poll().links, true);
    run('ip addr add 10.6.0.1/32 dev lo');
    assert.equal(watch.poll().addresses, true);
    run('ip neigh add 10.6.0.7 lladdr 02:00:00:00:00:07 dev v0');
    assert.equal(watch.poll().neighbours, true);
    const neighbour = listNeighbours().find((entry) => entry.address.length === 4);
    assert.deepEqual(neighbour?.address, address('10.6.0.7'));
    assert.deepEqual(neighbour?.linkAddress, Uint8Array.of(2, 0, 0, 0, 0, 7));
    watch.close();
  });
});

test('the lock is one for each namespace, names its holder, and is free when released', needs('root', 'namespaces'), () => {
  const [one, other] = [pair(), pair()];
  const first = one.inside(() => NamespaceLock.take('test')) as NamespaceLock;
  assert.equal(
    one.inside(() => NamespaceLock.take('test')),
    null,
  );
  assert.deepEqual(
    one.inside(() => NamespaceLock.holder('test')),
    { process: process.pid, user: process.getuid?.() },
  );
  const second = other.inside(() => NamespaceLock.take('test'));
  assert.ok(second);
  first.release();
  assert.equal(
    one.inside(() => NamespaceLock.holder('test')),
    null,
  );
  const third = one.inside(() => NamespaceLock.take('test'));
  assert.ok(third);
  third.release();
  second.release();
});
