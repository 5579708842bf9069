// Every check of a worker over recorded facts: a worker that is set up right, one thing broken, exactly that finding.

import assert from 'node:assert/strict';
import { test } from 'node:test';
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

function bad(setup: Setup, wanted = asks()): Found[] {
  return judgeWorker(facts(setup), wanted, false).findings.filter(({ level }) => level !== 'ok');
}

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
    'kill 7; gue-director worker --port 6090 --vip 192.0.2.10',
    other,
  );
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
  finds(
    { links: two, settings: { 'eth1.rp_filter': 1 } },
    'link-reverse-path',
    /eth1/,
    'sysctl -w net.ipv4.conf.eth1.rp_filter=2',
  );
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
  finds({ links: links({ eth0: { mtu: 1500 } }) }, 'worker-mtu', /eth0 is 1500.* needs 1532/, 'ip link set dev eth0 mtu 1532');
  finds({ links: links({ eth0: { mtu: 1532 } }) }, 'worker-mtu', /needs 1552/, 'ip link set dev eth0 mtu 1552', asks('gue', [6]));
});

test('packet filters: what drops tunnel packets, and what can not be told', () => {
  const chain = { family: 'inet', table: 'filter', name: 'input', hook: 'input', policy: 'accept' };
  const dport = (right: unknown, protocol = 'udp') => ({
    match: { op: '==', left: { payload: { protocol, field: 'dport' } }, right },
  });
  const from = { match: { op: '!=', left: { payload: { protocol: 'ip', field: 'saddr' } }, right: '198.51.100.0/24' } };
  const nft = (policy: string, ...rules: object[][]) => {
    const list = rules.map((expr, i) => ({ rule: { family: 'inet', table: 'filter', chain: 'input', handle: i + 2, expr } }));
    return {
      ruleset: { kind: 'nft', json: JSON.stringify({ nftables: [{ metainfo: {} }, { chain: { ...chain, policy } }, ...list] }) },
    } as const;
  };
  const [drop, accept, reject] = [{ drop: null }, { accept: null }, { reject: {} }];
  const established = [{ match: { op: 'in', left: { ct: { key: 'state' } }, right: ['established'] } }, accept];
  const lo = [{ match: { op: '==', left: { meta: { key: 'iifname' } }, right: 'lo' } }, accept];
  const open = 'nft insert rule inet filter input udp dport 6080 accept';
  finds(
    nft('accept', [dport(6080), drop]),
    'tunnel-dropped',
    /UDP port 6080.*handle 2/,
    'nft delete rule inet filter input handle 2',
  );
  finds(
    nft('accept', [dport(53), drop], [dport({ range: [6000, 6100] }), reject]),
    'tunnel-dropped',
    /handle 3/,
    'nft delete rule inet filter input handle 3',
  );
  finds(
    nft('accept', [dport({ set: [53, 6080] }), { counter: {} }, drop]),
    'tunnel-dropped',
    /handle 2/,
    'nft delete rule inet filter input handle 2',
  );
  finds(nft('drop', established, lo, [dport(22, 'tcp'), accept]), 'input-policy', /no rule accepts/, open);
  finds(nft('drop', established, [dport(6081), accept]), 'input-policy', /UDP port 6080/, open);
  for (const good of [
    nft('drop', [dport({ set: [53, 6080] }), accept]),
    nft('drop', [from, accept]),
    nft('drop', [{ jump: { target: 'directors' } }]),
    nft('accept', [dport(6080), from, drop]),
    nft('accept', [dport(6080), accept], [dport(6080), drop]),
    nft('accept', [dport(6080, 'tcp'), drop]),
  ]) {
    assert.deepEqual(bad(good), []);
  }
  const ipip = (right: unknown) => ({ match: { op: '==', left: { meta: { key: 'l4proto' } }, right } });
  finds(
    nft('accept', [ipip(4), drop]),
    'tunnel-dropped',
    /IP protocol 4/,
    'nft delete rule inet filter input handle 2',
    asks('ipip', [4], [VIP4]),
  );
  assert.deepEqual(bad(nft('accept', [ipip('ipip'), drop])), [], 'GUE is not IP in IP');

  const saved = (...lines: string[]) => ({ ruleset: { kind: 'iptables', saved: lines.join('\n') } }) as const;
  const rule = '-A INPUT -p udp -m udp --dport 6080 -j DROP';
  finds(
    saved(':INPUT ACCEPT [0:0]', rule),
    'tunnel-dropped',
    /--dport 6080/,
    'iptables -D INPUT -p udp -m udp --dport 6080 -j DROP',
  );
  finds(
    saved(':INPUT DROP [0:0]', '-A INPUT -i lo -j ACCEPT'),
    'input-policy',
    /chain INPUT/,
    'iptables -I INPUT -p udp --dport 6080 -j ACCEPT',
  );
  assert.deepEqual(bad(saved(':INPUT DROP [0:0]', '-A INPUT -s 198.51.100.0/24 -j ACCEPT')), []);
  assert.deepEqual(bad(saved(':INPUT DROP [0:0]', rule.replace('DROP', 'ACCEPT'))), []);

  const unknown = (privilege: boolean) =>
    ({ ruleset: { kind: 'unknown', reason: 'nft: Operation not permitted', privilege } }) as const;
  finds(unknown(true), 'input-unknown', /not permitted/, 'sudo gue-director doctor --worker');
  assert.equal(exitCodeOf(judgeWorker(facts(unknown(true)), asks(), false), false), 77);
  assert.equal(exitCodeOf(judgeWorker(facts(unknown(false)), asks(), false), false), 0);
});

test('damaged packets are counted by the kernel: a few in many are worth no warning', () => {
  const told = (damaged: number, received: number) =>
    judgeWorker(facts({ damaged, received }), asks(), false).findings.find(({ id }) => id === 'damaged-packets');
  assert.equal(told(0, 1000), undefined);
  assert.equal(told(1, 1_000_000)?.level, 'info');
  assert.equal(told(20, 1000)?.level, 'warning');
  assert.match(told(20, 1000)?.text ?? '', /^20 segments and datagrams were dropped for a wrong checksum/);
});
