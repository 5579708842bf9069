// Every check of the host: it triggers on the wrong setting, and the command it prints clears it.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { checkHost, refusal } from '../../src/host/checks.ts';
import type { Finding } from '../../src/host/finding.ts';
import { notrackFindings, notrackInstalled, trackedConnections } from '../../src/host/notrack.ts';
import { Ownership } from '../../src/host/ownership.ts';
import { isLocalAddress, resolveTunnelSource, routeTo, tableRouteTo } from '../../src/host/routes.ts';
import type { Wanted } from '../../src/host/wanted.ts';
import { closeDescriptor } from '../../src/raw-socket/file.ts';
import { openTunQueue } from '../../src/raw-socket/tun.ts';
import { typed } from '../doctor/typed.ts';
import { needs } from '../needs.ts';
import { Namespace, run, setSysctl } from './namespace.ts';
import { address, backend, service, wanted } from './wanted.ts';

const namespaces: Namespace[] = [];
after(() => {
  for (const namespace of namespaces) namespace.close();
});

/** A host with one interface of MTU 1600, both families, forwarding on: nothing to find. */
function goodHost(): Namespace {
  const [host, router] = [new Namespace(), new Namespace()];
  namespaces.push(host, router);
  host.connect('eth0', router, 'r0');
  host.inside(() => {
    run('ip link set eth0 mtu 1600');
    run('ip addr add 10.8.0.2/24 dev eth0');
    run('ip addr add fd08::2/64 dev eth0 nodad');
    run('ip route add default via 10.8.0.1');
    run('ip route add default via fd08::1');
    setSysctl('net/ipv4/ip_forward', 1);
    setSysctl('net/ipv6/conf/all/forwarding', 1);
    settled();
  });
  return host;
}

const good: Partial<Wanted> = {
  backends: [backend('10.8.0.11'), backend('10.99.0.12'), backend('fd08::11')],
  tunnelSources: [address('10.8.0.2'), address('fd08::2')],
  udpSourcePorts: { base: 61024, count: 64 },
};

function find(parts: Partial<Wanted> = {}): readonly Finding[] {
  return typed(checkHost(wanted({ ...good, ...parts })));
}

/** Exactly one finding of this id, which its own command makes go away. */
function cures(id: string, level: Finding['level'], text: RegExp, parts: Partial<Wanted> = {}): void {
  const findings = find(parts);
  assert.deepEqual(
    findings.map((finding) => [finding.id, finding.level]),
    [[id, level]],
  );
  assert.match(findings[0].text, text);
  run(findings[0].fix.replaceAll('"', '').replace(/ +#.*/, ''));
  assert.deepEqual(settled(parts), []);
}

/** An IPv6 address is local only when a work queue of the kernel has run (addrconf_dad_begin), with `nodad` too: after the command is back. */
function settled(parts: Partial<Wanted> = {}): readonly Finding[] {
  const deadline = Date.now() + 3000;
  let findings = find(parts);
  while (findings.length > 0 && Date.now() < deadline) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    findings = find(parts);
  }
  return findings;
}

test('a host that is set up right has no findings', needs('root', 'namespaces', 'tun', 'nft'), () => {
  goodHost().inside(() => {
    assert.deepEqual(find(), []);
    assert.equal(refusal([]), null);
  });
});

test(
  'tap-offload: who takes its packets, the reverse path, the firewall, its device',
  needs('root', 'namespaces', 'tun', 'nft', 'ethtool'),
  () => {
    goodHost().inside(() => {
      const offload = { egressDevice: 'gdx0', ingress: { driver: 'packet', interface: 'eth0' } } as const;
      cures('offload-virtual-link', 'warning', /^eth0 is a veth pair/, offload);
      for (const value of [1, 2]) {
        setSysctl('net/ipv4/conf/all/rp_filter', value);
        cures('offload-reverse-path', 'error', /all\.rp_filter is [12]/, offload);
      }
      run('nft add table inet filter');
      run('nft add chain inet filter forward { type filter hook forward priority 0 ; policy drop ; }');
      cures('forward-policy', 'warning', /what comes in by gdx0/, offload);
      run('ip link add gdx0 type veth peer name gdx1');
      const [{ id, exitCode }] = find(offload);
      assert.deepEqual([id, exitCode], ['device-name-taken', 78]);
      // Without IPv4 backends the filter is nobody's business.
      run('ip link del gdx0');
      setSysctl('net/ipv4/conf/all/rp_filter', 2);
      assert.deepEqual(find({ ...offload, backends: [backend('fd08::11')] }), []);
    });
  },
);

test('forwarding, reverse path and IPv6 settings', needs('root', 'namespaces', 'tun', 'nft'), () => {
  goodHost().inside(() => {
    setSysctl('net/ipv4/ip_forward', 0);
    const findings = find();
    assert.equal(refusal(findings)?.code, 'GD_HOST_CHECK');
    assert.equal(refusal(findings)?.hint, 'sysctl -w net.ipv4.ip_forward=1');
    // A copying driver needs no forwarding.
    assert.deepEqual(find({ ingress: { driver: 'packet', interface: 'eth0' } }), []);
    cures('ipv4-forwarding', 'error', /ip_forward is 0/);
    setSysctl('net/ipv6/conf/all/forwarding', 0);
    cures('ipv6-forwarding', 'error', /forwarding is 0/);
    setSysctl('net/ipv4/conf/all/rp_filter', 1);
    cures('reverse-path-filter', 'warning', /eth0/);
    setSysctl('net/ipv4/conf/all/rp_filter', 0);
    setSysctl('net/ipv4/conf/eth0/rp_filter', 1);
    cures('reverse-path-filter', 'warning', /eth0/);
    setSysctl('net/ipv6/conf/default/disable_ipv6', 1);
    cures('ipv6-disabled', 'error', /default\.disable_ipv6 is 1/);
  });
});

test('a firewall that drops forwarded packets', needs('root', 'namespaces', 'tun', 'nft'), () => {
  goodHost().inside(() => {
    run('nft add table ip filter');
    run('nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }');
    assert.deepEqual(find({ services: [service('2001:db8:1::/48')] }), []);
    cures('forward-policy', 'warning', /chain FORWARD in table ip filter/);
    run('nft add table inet f');
    run('nft add chain inet f forward { type filter hook forward priority 0 ; policy drop ; }');
    cures('forward-policy', 'warning', /table inet f/);
  });
});

test('loop guards: a service prefix with an address the host needs', needs('root', 'namespaces', 'tun', 'nft'), () => {
  goodHost().inside(() => {
    const conflicts = (prefix: string, parts: Partial<Wanted> = {}) =>
      find({ services: [service(prefix)], ...parts })
        .filter(({ id }) => id === 'prefix-conflict')
        .map(({ text }) => text.replace(/.* contains ([^:]*(::[0-9]+)?), (.*):.*/, '$1 $3'));
    assert.deepEqual(conflicts('10.8.0.2/32'), ['10.8.0.2 an address of eth0', '10.8.0.2 a tunnel source']);
    assert.deepEqual(conflicts('10.8.0.1/32'), ['10.8.0.1 the next hop of the default route']);
    assert.deepEqual(conflicts('10.99.0.0/16'), ['10.99.0.12 backend web/10.99.0.12']);
    run('ip route add 10.99.0.0/24 via 10.8.0.9');
    assert.deepEqual(conflicts('10.8.0.9/32'), ['10.8.0.9 the next hop to backend web/10.99.0.12']);
    assert.equal(conflicts('fd08::1/128').length, 1);
    assert.equal(conflicts('0.0.0.0/0').length > 3, true);
    // The VIP on lo, as other directors want it: the kernel would answer RST.
    run('ip addr add 203.0.113.7/32 dev lo');
    cures('prefix-conflict', 'error', /203\.0\.113\.7, an address of lo/, { services: [service('203.0.113.7/32')] });
    assert.equal(refusal(find({ services: [service('10.8.0.2/32')] }))?.exitCode, 78);
    // An address of the uplink, which the operator may be connected to, is not offered for removal; nor is any that a wide prefix has by chance.
    const fixes = (prefix: string) =>
      find({ services: [service(prefix)] }).flatMap(({ id, fix }) => (id === 'prefix-conflict' ? [fix] : []));
    run('ip addr add 172.20.0.5/24 dev eth0');
    run('ip addr add 172.20.1.5/32 dev lo');
    for (const prefix of ['172.20.0.0/24', '172.20.0.5/32', '172.20.1.0/24']) assert.deepEqual(fixes(prefix), [''], prefix);
    assert.deepEqual(fixes('172.20.1.5/32'), ['ip address del 172.20.1.5/32 dev lo']);
    run('ip addr del 172.20.0.5/24 dev eth0');
    run('ip addr del 172.20.1.5/32 dev lo');
    // Somebody else's route for the prefix, in either family.
    run('ip route add 203.0.113.0/24 via 10.8.0.77');
    cures('route-conflict', 'error', /routed elsewhere \(203\.0\.113\.0\/24 dev eth0\)/);
    run('ip -6 route add 2001:db8:1::/64 via fd08::77');
    cures('route-conflict', 'error', /2001:db8:1::\/64 dev eth0/);
    // Our own, left by a predecessor, is no conflict.
    const ownership = new Ownership();
    ownership.acquire(wanted({ ingress: { driver: 'packet', interface: 'eth0' } }));
    assert.deepEqual(find(), []);
    ownership.release();
  });
});

test(
  'policy routing: what the kernel does with a service decides, whatever the table',
  needs('root', 'namespaces', 'tun', 'nft'),
  () => {
    goodHost().inside(() => {
      const conflicts = () => find({ services: [service('203.0.113.7/32'), service('2001:db8:1::7/128')] });
      run('ip rule add pref 100 lookup 100');
      run('ip route add default via 10.8.0.1 table 100');
      run('ip -6 rule add pref 100 lookup 100');
      run('ip -6 route add default via fd08::1 table 100');
      assert.deepEqual(conflicts(), [], 'without a director it is the way of everything');
      const tun = openTunQueue('gd0');
      run('ip link set gd0 up');
      for (const family of ['', ' -6']) {
        const prefix = family === '' ? '203.0.113.7/32' : '2001:db8:1::7/128';
        run(`ip${family} route add ${prefix} dev gd0 proto 77`);
        const [found, ...more] = conflicts();
        assert.deepEqual(
          [found.id, found.level, found.fix],
          ['route-conflict', 'error', `ip${family} rule add pref 1 to ${prefix} lookup main`],
        );
        assert.match(found.text, /routed elsewhere \((0\.0\.0\.0\/0|::\/0) dev eth0 table 100\)/);
        assert.deepEqual(more, []);
        // The same prefix there.
        run(`ip${family} route add ${prefix} dev eth0 table 100`);
        const [same] = conflicts();
        assert.match(
          same.fix,
          family === ''
            ? /^ip route del 203\.0\.113\.7\/32 dev eth0 table 100$/
            : /^ip -6 route del 2001:db8:1::7\/128 dev eth0 table 100 metric 1024$/,
        );
        run(same.fix);
        run(conflicts()[0].fix);
        assert.deepEqual(conflicts(), [], 'cured');
      }
      // What drops before our route is asked.
      run('ip rule add pref 0 to 203.0.113.7 unreachable');
      assert.match(conflicts()[0].text, /drops its packets/);
      closeDescriptor(tun);
    });
  },
);

test('ways to the backends: reachability, MTU, tunnel sources', needs('root', 'namespaces', 'tun', 'nft'), () => {
  goodHost().inside(() => {
    run('ip link set eth0 mtu 1500');
    // Over IPv6 the outer headers are longer: the larger need decides.
    cures('path-mtu', 'warning', /MTU of eth0 is 1500.* and 2 more needs 1552/);
    run('ip link set eth0 mtu 1531');
    cures('path-mtu', 'warning', /needs 1532/, { backends: [backend('10.8.0.11')] });
    run('ip link set eth0 mtu 1600');
    run('ip route add 10.99.0.0/24 via 10.8.0.1 mtu 1400');
    const [metric, ...more] = find();
    assert.match(metric.text, /10\.99\.0\.12.* carries 1400 bytes/);
    assert.equal(metric.fix, 'ip route get 10.99.0.12');
    assert.deepEqual(more, []);
    run('ip route replace unreachable 10.99.0.0/24');
    assert.deepEqual(
      find().map(({ id }) => id),
      ['backend-unreachable'],
    );
    assert.match(find()[0].text, /route of type unreachable/);
    run('ip route del unreachable 10.99.0.0/24');
    run('ip route del default via 10.8.0.1');
    assert.deepEqual(
      find().map(({ id }) => id),
      ['backend-unreachable'],
    );
    run('ip route add default via 10.8.0.1');
    cures('tunnel-source-not-local', 'error', /10\.8\.0\.200/, { tunnelSources: [address('10.8.0.200')] });
    cures('tunnel-source-not-local', 'error', /fd08::200/, { tunnelSources: [address('fd08::200')] });
  });
});

test('devices and ports', needs('root', 'namespaces', 'tun', 'nft'), () => {
  goodHost().inside(() => {
    const ids = (parts: Partial<Wanted>) => find(parts).map(({ id, level }) => `${level} ${id}`);
    assert.deepEqual(ids({ ingress: { driver: 'packet', interface: 'eth9' } }), ['error interface-missing']);
    assert.deepEqual(ids({ ingress: { driver: 'tun', device: 'eth0', queueLength: 1 } }), ['error device-name-taken']);
    run('ip link add eth1 type veth peer name r1');
    cures('interface-down', 'warning', /eth1/, { ingress: { driver: 'packet', interface: 'eth1' } });
    cures('source-ports-ephemeral', 'warning', /^32 of the tunnel source ports 60968-61031/, {
      udpSourcePorts: { base: 60968, count: 64 },
    });
    setSysctl('net/ipv4/ip_local_port_range', '32768 65000');
    cures('source-ports-ephemeral', 'warning', /^56 of/, { udpSourcePorts: { base: 61024, count: 64 } });
  });
});

/** On a kernel without conntrack it sees nothing anyway: no rules are made, nobody is told of any. */
function needNothing(): void {
  const queue = openTunQueue('gd0');
  const ownership = new Ownership();
  assert.deepEqual(ownership.acquire(wanted({})), []);
  assert.equal(notrackInstalled(), false);
  assert.deepEqual(notrackFindings(wanted({}), null), []);
  assert.deepEqual(ownership.release(), []);
  closeDescriptor(queue);
}

test(
  'conntrack sees nothing of a service, and a host where that can not be had is told',
  needs('root', 'namespaces', 'tun', 'nft'),
  () => {
    const host = goodHost();
    const client = new Namespace();
    namespaces.push(client);
    client.connect('c0', host, 'h0');
    client.inside(() => {
      run('ip addr add 10.7.0.1/24 dev c0');
      run('ip route add default via 10.7.0.2');
    });
    const send = (to: string) => client.inside(() => run(`bash -c echo>/dev/udp/${to}/80`));
    host.inside(() => {
      run('ip addr add 10.7.0.2/24 dev h0');
      if (trackedConnections() === null) return needNothing();
      assert.equal(trackedConnections(), 0);
      // What any firewall with a stateful rule does: from here on everything is tracked.
      run('nft add table inet firewall');
      run('nft add chain inet firewall forward { type filter hook forward priority 0 ; }');
      run('nft add rule inet firewall forward ct state established accept');
      const queue = openTunQueue('gd0');
      const ownership = new Ownership();
      ownership.acquire(wanted({}));
      send('203.0.113.5');
      assert.equal(trackedConnections(), 0);
      // Control: another address, and the service's own once our table is gone.
      send('198.51.100.5');
      assert.equal(trackedConnections(), 1);
      run('nft delete table inet gue_director');
      send('203.0.113.5');
      assert.equal(trackedConnections(), 2);
      const [finding] = notrackFindings(wanted({}), null);
      assert.equal(finding.level, 'warning');
      assert.match(finding.text, /2 connections tracked/);
      assert.equal(finding.fix, 'apt-get install nftables');
      assert.deepEqual(notrackFindings(wanted({})), []);
      assert.deepEqual(ownership.release(), []);
      closeDescriptor(queue);
    });
  },
);

test('route lookups', needs('root', 'namespaces', 'nft'), () => {
  goodHost().inside(() => {
    const way = routeTo(address('10.99.0.12'));
    assert.equal(way?.type, 'unicast');
    assert.equal(way?.interface, 'eth0');
    assert.equal(way?.mtu, 1600);
    assert.deepEqual(way?.gateway, address('10.8.0.1'));
    assert.deepEqual(way?.source, address('10.8.0.2'));
    assert.equal(routeTo(address('10.8.0.11'))?.gateway, null);
    assert.deepEqual(resolveTunnelSource(address('fd08::11')), address('fd08::2'));
    assert.deepEqual(routeTo(address('2001:db8::1'))?.gateway, address('fd08::1'));
    for (const [text, type] of [
      ['198.51.100.1', 'blackhole'],
      ['198.51.100.2', 'unreachable'],
      ['198.51.100.3', 'prohibit'],
      ['2001:db8:9::1', 'blackhole'],
      ['2001:db8:9::2', 'unreachable'],
      ['2001:db8:9::3', 'prohibit'],
    ]) {
      run(`ip route add ${type} ${text}`);
      assert.equal(routeTo(address(text))?.type, type, text);
      assert.throws(() => resolveTunnelSource(address(text)), { code: 'GD_HOST_NO_ROUTE', message: new RegExp(type) });
    }
    assert.equal(isLocalAddress(address('10.8.0.2')), true);
    assert.equal(isLocalAddress(address('10.8.0.3')), false);
    assert.equal(tableRouteTo(address('10.8.0.3'))?.prefix.length, 24);
    run('ip route del default via 10.8.0.1');
    run('ip -6 route del default via fd08::1');
    assert.equal(routeTo(address('10.99.0.12')), null);
    assert.equal(routeTo(address('2001:db8::1')), null);
    assert.throws(() => resolveTunnelSource(address('10.99.0.12')), { code: 'GD_HOST_NO_ROUTE' });
    // An IPv4 route with an IPv6 next hop (RFC 5549).
    run('ip route add 10.98.0.0/24 via inet6 fd08::1');
    assert.deepEqual(routeTo(address('10.98.0.1'))?.gateway, address('fd08::1'));
  });
});
