// Every check of a worker over recorded facts: a worker that is set up right, one thing broken, exactly that finding.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { typed } from '../../../test/doctor/typed.ts';
import { parseAnyAddress } from '../../config/address.ts';
import type { Encapsulation } from '../../pipeline/spec.ts';
import { exitCodeOf, type Found } from '../finding.ts';
import { judgeWorker } from './examine.ts';
import { type Family, parseFou, parseLinks, parseSockets, parseWorker, type WorkerFacts } from './facts.ts';
import { type WantedVip, type WorkerWanted, wantedByWords } from './wanted.ts';

const ip = (text: string) => parseAnyAddress(text).value as Uint8Array;
const VIP4: WantedVip = { address: ip('192.0.2.10'), protocol: 6, port: 80 };
const VIP6: WantedVip = { address: ip('2001:db8:1::10'), protocol: 6, port: 80 };

/** As Linux 6.1 and iproute2 6.1 print it, fields left out that nobody reads. */
const LINKS = [
  {
    ifname: 'lo',
    flags: ['LOOPBACK', 'UP'],
    mtu: 65536,
    addr_info: [local('127.0.0.1', 8), local('192.0.2.10', 32), local('2001:db8:1::10', 128)],
  },
  { ifname: 'eth0', flags: ['BROADCAST', 'UP'], mtu: 1600, addr_info: [local('10.8.0.21', 24), local('fd08::21', 64)] },
  {
    ifname: 'tunl0',
    flags: ['NOARP', 'UP'],
    mtu: 1480,
    linkinfo: { info_kind: 'ipip', info_data: { proto: 'ipip', remote: 'any' } },
  },
  {
    ifname: 'sit0',
    flags: ['NOARP', 'UP'],
    mtu: 1480,
    linkinfo: { info_kind: 'sit', info_data: { proto: 'ip6ip', remote: 'any' } },
  },
  {
    ifname: 'ip6tnl0',
    flags: ['NOARP'],
    mtu: 1452,
    linkinfo: { info_kind: 'ip6tnl', info_data: { proto: 'ip6ip6', remote: '::' } },
  },
  {
    ifname: 'gue6',
    flags: ['NOARP', 'UP'],
    mtu: 1452,
    linkinfo: { info_kind: 'ip6tnl', info_data: { proto: 'any', remote: '::' } },
  },
  { ifname: 'gre0', flags: ['NOARP', 'UP'], mtu: 1476, linkinfo: { info_kind: 'gre', info_data: { remote: 'any' } } },
  { ifname: 'ip6gre0', flags: ['NOARP', 'UP'], mtu: 1448, linkinfo: { info_kind: 'ip6gre', info_data: { remote: 'any' } } },
];

function local(address: string, prefixlen: number, more: object = {}) {
  return { family: address.includes(':') ? 'inet6' : 'inet', local: address, prefixlen, ...more };
}

type LinkFact = (typeof LINKS)[number] | { ifname: string; [key: string]: unknown };

/** The links with those of the same name replaced, those that are null removed, new ones added. */
function links(changes: Record<string, object | null> = {}): string {
  const kept = LINKS.flatMap((link): LinkFact[] => {
    const change = changes[link.ifname];
    return change === null ? [] : [{ ...link, ...change }];
  });
  const added = Object.entries(changes).flatMap(([ifname, change]) =>
    change === null || LINKS.some((link) => link.ifname === ifname) ? [] : [{ ifname, flags: ['UP'], mtu: 1600, ...change }],
  );
  return JSON.stringify([...kept, ...added]);
}

const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 0 100 0 0 10 0
   1: 0A0200C0:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1235 1 0 100 0 0 10 0`;
const TCP6 = `  sl  local_address                         remote_address                        st
   0: B80D0120000001000000000010000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000`;

const FOU4 = 'port 6080 gue\nport 6084 ipproto 4\nport 6086 ipproto 41\n';
const FOU6 = 'port 6080 gue -6\nport 6084 ipproto 4 -6\nport 6086 ipproto 41 -6\n';

interface Setup extends Partial<Omit<WorkerFacts, 'links' | 'setting'>> {
  readonly links?: string;
  readonly settings?: Readonly<Record<string, number>>;
}

function facts({ links: json = links(), settings = {}, ...more }: Setup = {}): WorkerFacts {
  const parsed = parseLinks(json);
  return {
    links: parsed,
    fou: parseFou(FOU4 + FOU6),
    canLoad: () => true,
    setting: (name, scope) => settings[`${scope}.${name}`] ?? 0,
    listeners: [...parseSockets(TCP, 6, 4), ...parseSockets(TCP6, 6, 6)],
    userSpace: [],
    isLocal: (address) => parsed.some(({ addresses }) => addresses.some(({ bytes }) => bytes.join('.') === address.join('.'))),
    hasDefaultRoute: () => true,
    uplink: () => 'eth0',
    ruleset: { kind: 'nft', json: '{"nftables":[]}' },
    reversePathDrops: 0,
    received: 1000,
    damaged: 0,
    ...more,
  };
}

function asks(
  encapsulation: Encapsulation = 'gue',
  outer: readonly Family[] = [4],
  vips = [VIP4, VIP6],
  port = 6080,
): WorkerWanted {
  return wantedByWords(vips, encapsulation, port, outer);
}

function bad(setup: Setup, wanted = asks()): readonly Found[] {
  return typed(judgeWorker(facts(setup), wanted, false).findings.filter(({ level }) => level !== 'ok'));
}

const fixMtu = (name: string, mtu: number) => `ip link set dev ${name} mtu ${mtu}`;

/** Exactly one finding. */
function finds(setup: Setup, id: string, text: RegExp, fix: string, wanted = asks()): void {
  const found = bad(setup, wanted);
  assert.deepEqual(
    found.map((one) => one.id),
    [id],
    JSON.stringify(found),
  );
  assert.match(found[0].text, text);
  assert.equal(found[0].fix, fix);
}

test('a worker that is set up right has nothing but good areas, in every encapsulation', () => {
  for (const encapsulation of ['gue', 'gue-v1', 'ipip', 'gre'] as const) {
    const report = judgeWorker(facts(), asks(encapsulation, [4, 6]), false);
    assert.deepEqual([report.worst, exitCodeOf(report, true)], ['ok', 0], JSON.stringify(report.findings));
  }
  // A FOU port has one inner protocol.
  assert.deepEqual(bad({}, asks('fou', [4, 6], [VIP4], 6084)), []);
  assert.deepEqual(bad({}, asks('fou', [4, 6], [VIP6], 6086)), []);
});

test('who unwraps: module, port, its type, another program', () => {
  const [add4, add6] = ['ip fou add port 6080 gue', 'ip -6 fou add port 6080 gue'];
  finds({ fou: null }, 'fou-missing', /not loaded/, `modprobe fou && ${add4}`);
  finds(
    { fou: null, canLoad: () => false },
    'fou-missing',
    /no module fou/,
    'gue-director worker --port 6080 --vip 192.0.2.10 --vip 2001:db8:1::10',
  );
  finds({ fou: null }, 'fou-missing', /not loaded/, `modprobe fou && modprobe fou6 && ${add6}`, asks('gue', [6]));
  finds({ fou: [] }, 'fou-port-missing', /nothing unwraps UDP port 6080 over IPv4/, add4);
  finds({ fou: parseFou('port 6081 gue') }, 'fou-port-missing', /: the kernel unwraps 6081 \(gue\)$/, add4);
  finds({ fou: parseFou(FOU4) }, 'fou-port-missing', /over IPv6/, `modprobe fou6 && ${add6}`, asks('gue', [6]));
  finds({ fou: parseFou('port 6080 ipproto 4') }, 'fou-port-type', /takes ipproto 4/, `ip fou del port 6080 && ${add4}`);
  const holder = parseSockets('\n  1: 00000000:17C0 00000000:0000 07 0:0', 17, 4);
  finds({ fou: [], listeners: [...facts().listeners, ...holder] }, 'port-taken', /another program/, 'ss -ulnp sport = :6080');
});

test('gue-director worker in place of the kernel is recognised, and its device looked at', () => {
  const line = (words: string) => words.replaceAll(' ', '\0');
  const worker = parseWorker(7, line('node /opt/gue-director/dist/cli/main.js worker --port 6080 --device gw9 --fou=6084=4'));
  assert.deepEqual(worker, { pid: 7, device: 'gw9', port: 6080, fou: [{ port: 6084, protocol: 4 }], ipip: false, gre: false });
  assert.equal(parseWorker(7, line('node /opt/gue-director/dist/cli/main.js run worker')), null);
  assert.equal(parseWorker(7, line('vi worker')), null);
  const userSpace = [worker as NonNullable<typeof worker>];
  const gw9 = { flags: ['NOARP', 'UP'], linkinfo: { info_kind: 'tun' } };
  const setup = { fou: null, canLoad: () => false, userSpace, links: links({ gw9, tunl0: null, sit0: null }) };
  finds(setup, 'user-space-worker', /process 7.*into gw9/, '');
  const other = asks('gue', [4], [VIP4], 6090);
  finds(
    { ...setup, listeners: facts().listeners },
    'fou-port-missing',
    /UDP port 6090.*unwraps GUE 6080, FOU 6084$/,
    'ps -o args= -p 7   # start another beside it with --port 6090 --device NAME, or it again with --port 6090 where nobody sends to 6080',
    other,
  );
  const fou = asks('fou', [4], [VIP4], 6085);
  finds(setup, 'fou-port-missing', /UDP port 6085/, 'ps -o args= -p 7   # start it again with --fou 6085=4 added', fou);
  const [first] = bad({ ...setup, settings: { 'all.rp_filter': 2 } });
  assert.deepEqual([first.id, first.fix], ['tunnel-reverse-path', 'sysctl -w net.ipv4.conf.all.rp_filter=0']);
  const twice = parseWorker(8, line('/usr/bin/gue-director worker --ipip')) as NonNullable<typeof worker>;
  const found = bad({ userSpace: [twice] }, asks('ipip'));
  assert.deepEqual(
    found.map(({ id, fix }) => [id, fix]),
    [
      ['unwrapped-twice', 'ip link set tunl0 down'],
      ['user-space-worker', ''],
    ],
  );
});

test('tunnel devices: missing, down, of a mode that does not take the packets', () => {
  finds({ links: links({ tunl0: null }) }, 'tunnel-device-missing', /IPv4 in IPv4/, 'modprobe ipip && ip link set tunl0 up');
  finds({ links: links({ sit0: { flags: [] } }) }, 'tunnel-device-down', /sit0 is down.*IPv6 in IPv4/, 'ip link set sit0 up');
  const change = 'ip -6 tunnel change ip6tnl0 mode any && ip link set ip6tnl0 up';
  const over6 = asks('gue', [6], [VIP4]);
  finds({ links: links({ gue6: null }) }, 'tunnel-device-mode', /IPv4 in IPv6: ip6tnl0 is of mode ip6ip6/, change, over6);
  finds(
    { links: links({ gue6: null, ip6tnl0: null }) },
    'tunnel-device-missing',
    /kind ip6tnl/,
    `modprobe ip6_tunnel && ${change}`,
    over6,
  );
  finds({ links: links({ gue6: null }) }, 'tunnel-device-down', /ip6tnl0/, 'ip link set ip6tnl0 up', asks('gue', [6], [VIP6]));
  const external = { flags: ['NOARP', 'UP'], linkinfo: { info_kind: 'ipip', info_data: { external: true } } };
  assert.deepEqual(bad({ links: links({ tunl0: null, any0: external }) }), []);
  const sum = { linkinfo: { info_kind: 'gre', info_data: { remote: 'any', icsum: true } } };
  const wrong = bad({ links: links({ gre0: sum }) }, asks('gre'));
  assert.deepEqual([wrong.length, wrong[0].id], [1, 'gre-checksums']);
  assert.match(wrong[0].text, /without a checksum, and gre0 takes only packets with/);
  assert.equal(wrong[0].fix, 'ip link add greplain type gre local 10.8.0.21 remote any && ip link set greplain up');
  const [nowhere] = bad({ links: links({ gre0: sum }), uplink: () => null }, asks('gre'));
  assert.match(nowhere.fix, /^ip address show {3}# .* local ADDRESS /);
});

test('reverse path filters: the larger of all and the device; loose needs an address', () => {
  const [all, own] = ['net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.tunl0.rp_filter=0'];
  finds({ settings: { 'tunl0.rp_filter': 1 } }, 'tunnel-reverse-path', /out of tunl0:/, `sysctl -w ${own}`);
  finds(
    { settings: { 'all.rp_filter': 1, 'tunl0.rp_filter': 1 }, reversePathDrops: 17 },
    'tunnel-reverse-path',
    /17 packets so far/,
    `sysctl -w ${all} ${own}`,
  );
  finds({ settings: { 'all.rp_filter': 2 } }, 'tunnel-reverse-path', /rp_filter is 2/, `sysctl -w ${all}`);
  const addressed = links({ tunl0: { addr_info: [local('10.9.0.1', 32)] } });
  assert.deepEqual(bad({ links: addressed, settings: { 'all.rp_filter': 2 } }), []);
  // Only inner IPv4 is filtered.
  assert.deepEqual(bad({ settings: { 'sit0.rp_filter': 1, 'tunl0.rp_filter': 1 } }, asks('gue', [4], [VIP6])), []);
  const two = links({ eth1: { addr_info: [local('10.9.0.21', 24)] } });
  const there = { ...asks(), endpoints: [ip('10.9.0.21')] };
  finds(
    { links: two, settings: { 'eth1.rp_filter': 1 } },
    'link-reverse-path',
    /eth1/,
    'sysctl -w net.ipv4.conf.eth1.rp_filter=2',
    there,
  );
  assert.deepEqual(bad({ links: two, settings: { 'eth1.rp_filter': 1 } }), [], 'tunnel packets come by the other');
  assert.deepEqual(bad({ settings: { 'eth0.rp_filter': 1 } }), [], 'there is no other interface that it could come by');
});

test('virtual IPs: here, in use, not on the link; ARP where they lie in a connected network', () => {
  const without = [local('127.0.0.1', 8), local('2001:db8:1::10', 128)];
  const add = 'ip address add 192.0.2.10/32 dev lo';
  finds({ links: links({ lo: { addr_info: without } }) }, 'vip-missing', /192\.0\.2\.10 is no address/, add);
  const duplicate = [local('192.0.2.10', 32), local('2001:db8:1::10', 128, { dadfailed: true })];
  const again = 'ip address del 2001:db8:1::10/128 dev lo && ip address add 2001:db8:1::10/128 dev lo nodad';
  finds({ links: links({ lo: { addr_info: duplicate } }) }, 'vip-tentative', /not in use/, again);
  const moved = links({ lo: { addr_info: without }, eth0: { addr_info: [local('10.8.0.21', 24), local('192.0.2.10', 24)] } });
  finds({ links: moved }, 'vip-on-link', /on eth0, which answers/, `ip address del 192.0.2.10/24 dev eth0 && ${add}`);
  const dummy = { flags: ['NOARP', 'UP'], linkinfo: { info_kind: 'dummy' }, addr_info: [local('192.0.2.10', 32)] };
  assert.deepEqual(bad({ links: links({ lo: { addr_info: without }, dummy0: dummy }) }), []);

  const near = links({ eth0: { addr_info: [local('192.0.2.21', 24)] } });
  const [ignore, announce] = ['net.ipv4.conf.all.arp_ignore=1', 'net.ipv4.conf.all.arp_announce=2'];
  finds({ links: near }, 'arp-answers', /answers ARP on eth0 for/, `sysctl -w ${ignore} ${announce}`);
  finds({ links: near, settings: { 'eth0.arp_ignore': 1 } }, 'arp-answers', /sends ARP requests/, `sysctl -w ${announce}`);
  assert.deepEqual(bad({ links: near, settings: { 'all.arp_ignore': 1, 'eth0.arp_announce': 2 } }), []);
  assert.deepEqual(bad({ links: links({ eth0: { addr_info: [local('192.0.2.130', 25)] } }) }), [], 'the other half of the /24');
});

test('service, ways back, MTU', () => {
  finds({ listeners: parseSockets(TCP, 6, 4) }, 'service-not-listening', /2001:db8:1::10, TCP port 80/, 'ss -tlnp sport = :80');
  const udp = { address: VIP4.address, protocol: 17, port: 53 };
  finds({}, 'service-not-listening', /UDP port 53/, 'ss -ulnp sport = :53', asks('gue', [4], [udp]));
  assert.deepEqual(bad({}, asks('gue', [4], [{ ...VIP4, port: 443 }])), [], 'it listens on the virtual IP alone');
  assert.deepEqual(bad({ listeners: [] }, asks('gue', [4], [{ ...VIP4, protocol: null, port: null }])), []);
  finds({ hasDefaultRoute: (family) => family === 4 }, 'no-way-back', /IPv6/, 'ip -6 route show');
  finds({ links: links({ eth0: { mtu: 1500 } }) }, 'worker-mtu', /eth0 is 1500.* needs 1532/, fixMtu('eth0', 1532));
  finds({ links: links({ eth0: { mtu: 1532 } }) }, 'worker-mtu', /needs 1552/, fixMtu('eth0', 1552), asks('gue', [6]));
});

test('interfaces of containers, overlays and VPNs are nobody’s business', () => {
  const of = (info_kind: string, address: string, mtu: number) => ({
    mtu,
    linkinfo: { info_kind },
    addr_info: [local(address, 24)],
  });
  const others = links({
    wg0: of('wireguard', '10.66.0.1', 1420),
    'flannel.1': of('vxlan', '10.244.0.0', 1450),
    docker0: of('bridge', '172.17.0.1', 1500),
    veth7: of('veth', '10.77.0.1', 1500),
  });
  const strict = Object.fromEntries(['eth0', 'wg0', 'flannel.1', 'docker0', 'veth7'].map((name) => [`${name}.rp_filter`, 1]));
  const endpoints = (address: string) => ({ ...asks(), endpoints: [ip(address)] });
  for (const wanted of [asks(), endpoints('10.8.0.21'), endpoints('127.0.0.1')]) {
    assert.deepEqual(bad({ links: others, settings: strict }, wanted), []);
  }
  finds({ links: others }, 'worker-mtu', /MTU of wg0 is 1420/, fixMtu('wg0', 1532), endpoints('10.66.0.1'));
  const nowhere = judgeWorker(facts({ uplink: () => null }), asks(), false).findings;
  assert.ok(!nowhere.some(({ id }) => id === 'link-mtu'), 'not looked at');
});

test('a firewall that could not be looked at is not said to be good', () => {
  const ruleset = (privilege: boolean) => ({ kind: 'unknown', reason: 'nft: Operation not permitted', privilege }) as const;
  finds({ ruleset: ruleset(true) }, 'input-unknown', /not permitted/, 'sudo gue-director doctor --worker');
  assert.equal(exitCodeOf(judgeWorker(facts({ ruleset: ruleset(true) }), asks(), false), false), 77);
  assert.equal(exitCodeOf(judgeWorker(facts({ ruleset: ruleset(false) }), asks(), false), false), 0);
  const iptables = { kind: 'iptables', saved: ':INPUT ACCEPT [0:0]', saved6: null } as const;
  const good = (outer: readonly Family[]) =>
    judgeWorker(facts({ ruleset: iptables }), asks('gue', outer), false).findings.some(({ id }) => id === 'firewall');
  assert.deepEqual([good([4]), good([4, 6])], [true, false]);
});

test('damaged packets are counted by the kernel: a few in many are worth no warning', () => {
  const told = (damaged: number, received: number) =>
    judgeWorker(facts({ damaged, received }), asks(), false).findings.find(({ id }) => id === 'damaged-packets');
  assert.equal(told(0, 1000), undefined);
  assert.equal(told(1, 1_000_000)?.level, 'info');
  assert.equal(told(20, 1000)?.level, 'warning');
  assert.match(told(20, 1000)?.text ?? '', /^20 segments and datagrams were dropped for a wrong checksum/);
});
