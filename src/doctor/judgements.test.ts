// What tried ways, a running director, the kernel and interfaces mean: over facts, each with the one finding that it makes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { typed } from '../../test/doctor/typed.ts';
import { parseAnyAddress } from '../config/address.ts';
import { judgeArrivals, type Sender } from './arrivals.ts';
import { exitCodeOf, type Found, reportOf } from './finding.ts';
import { answeringText, judgePaths } from './judge-paths.ts';
import { judgeConntrack, judgeKernel, type KernelFacts, type KernelUse } from './kernel-features.ts';
import { judgeOffloads } from './offloads.ts';
import { withPolicies } from './oversize.ts';
import type { Tried } from './path-probes.ts';
import { judgeAbsent, judgeOtherFile, judgeRunning, LOST_TOTAL, type RecentHistory, type RunningStatus } from './running.ts';
import { judgeXdp, type XdpFacts, type XdpUse } from './xdp.ts';

const ip = (text: string) => parseAnyAddress(text).value as Uint8Array;

function tried(parts: Partial<Tried> = {}): Tried {
  const address = ip('10.8.1.1');
  return {
    pool: 'web',
    name: 'w1',
    address,
    overhead: 32,
    encapsulation: 'gue',
    port: 6080,
    route: { type: 'unicast', interface: 'eth0', interfaceIndex: 2, gateway: ip('10.8.0.1'), source: ip('10.8.0.2'), mtu: 1600 },
    size: 1532,
    short: true,
    long: true,
    largest: 1532,
    refused: null,
    learned: 1600,
    unresolved: null,
    vanishing: null,
    ...parts,
  };
}

const ids = (found: readonly Found[]) => found.map(({ id, level }) => `${level} ${id}`);
const judge = (...ways: Tried[]) => typed(judgePaths({ tried: ways, left: 0 }));

test('each way has one cause, the nearest', () => {
  assert.deepEqual(judge(tried()), []);
  const six = { ...tried().route, gateway: null, interface: 'eth6' } as NonNullable<Tried['route']>;
  const cases: [Partial<Tried>, string, RegExp, RegExp][] = [
    [
      { refused: 'ECONNREFUSED' },
      'error tunnel-port-closed',
      /nothing unwraps gue at UDP port 6080/,
      /^ip fou add port 6080 gue/,
    ],
    [
      { refused: 'ECONNREFUSED', encapsulation: 'fou', address: ip('fd00::1') },
      'error tunnel-port-closed',
      /fou/,
      /^ip -6 fou add port 6080 ipproto/,
    ],
    [
      { refused: 'EHOSTUNREACH', short: false, long: false },
      'error backend-unreachable',
      /host unreachable/,
      /^tracepath -n 10\.8\.1\.1/,
    ],
    [{ refused: 'EPERM' }, 'error tunnel-prohibited', /firewall/, /nft/],
    [{ refused: 'EMSGSIZE', long: false, learned: 1400 }, 'warning path-mtu', /carries 1400 bytes and refused 1532/, /tracepath/],
    [{ long: false, learned: 1400, port: null }, 'warning path-mtu', /carries 1400/, /tracepath/],
    [
      { long: false, largest: 1400 },
      'error path-black-hole',
      /1532 bytes .* those of 1400 arrive/,
      /^ip route replace 10\.8\.1\.1\/32 via 10\.8\.0\.1 dev eth0 mtu 1400$/,
    ],
    [
      { long: false, largest: 0, address: ip('fd00::1'), route: six },
      'error path-black-hole',
      /short ones arrive/,
      /^ip -6 route replace fd00::1\/128 dev eth6 mtu 1280$/,
    ],
    [{ short: false, long: false, largest: 0 }, 'warning backend-silent', /does not answer pings/, /tracepath/],
    [
      { short: false, long: false, unresolved: ip('10.8.0.1') },
      'error neighbour-missing',
      /ARP for 10\.8\.0\.1, the next hop to backend web\/w1/,
      /^ip neigh show dev eth0/,
    ],
    // An old entry of somebody who answers by now.
    [{ unresolved: ip('10.8.0.1') }, '', /^$/, /^$/],
    [{ short: null, long: null, largest: 0 }, 'skipped path-not-probed', /CAP_NET_RAW/, /sudo/],
    [{ size: 0, short: false, long: false }, '', /^$/, /^$/],
  ];
  for (const [parts, id, text, fix] of cases) {
    const found = judge(tried(parts));
    assert.deepEqual(ids(found), id === '' ? [] : [id], JSON.stringify(parts));
    assert.match(found[0]?.text ?? '', text);
    assert.match(found[0]?.fix ?? '', fix);
  }
});

test('what several backends suffer from is said once', () => {
  const found = judge(
    tried({ refused: 'ECONNREFUSED' }),
    tried({ name: 'w2', refused: 'ECONNREFUSED' }),
    tried({ name: 'w3', refused: 'ECONNREFUSED', port: 6081 }),
  );
  assert.deepEqual(
    found.map(({ text }) => / (and \d more) /.exec(text)?.[1]),
    ['and 1 more', undefined],
  );
  assert.deepEqual(ids(judgePaths({ tried: [], left: 88 })), ['info path-not-probed']);
});

test('of backends that nothing reached it is not said that they answer', () => {
  const text = (...ways: Tried[]) => answeringText({ tried: ways, left: 0 });
  const missing = tried({ short: false, long: false, unresolved: ip('10.8.0.1') });
  const refused = tried({ refused: 'EHOSTUNREACH', short: false, long: false });
  const nowhere = tried({ size: 0, route: null, short: false, long: false });
  const silent = tried({ short: false, long: false });
  assert.equal(text(missing, missing, missing), null);
  assert.equal(text(missing, refused, nowhere, silent), null);
  assert.equal(text(), null);
  assert.equal(text(tried(), tried()), 'each backend answers, and none refuses tunnel packets');
  assert.equal(text(tried(), nowhere, missing), '1 of 3 backends answer, and none of these refuses tunnel packets');
  assert.match(text(tried({ long: false, largest: 1400 }), tried({ refused: 'EMSGSIZE' })) ?? '', /^each/);
  assert.match(answeringText({ tried: [tried()], left: 88 }) ?? '', /^1 of 89 /);
});

const well = { ok: true, reasons: [] };
const running: RunningStatus = {
  config: '/etc/gue-director/director.yaml',
  healthy: well,
  ready: well,
  packets: { received: 1_000_000, lost: 0 },
  drops: { 'not-a-service': 17 },
  backends: [{ pool: 'web', name: 'w1', address: '10.8.1.1', ports: [6080], unreachable: null, health: null }],
};

test('a running director: reasons, backends, drops, losses', () => {
  const ordinary = new Set(['not-a-service']);
  const said = (parts: Partial<RunningStatus>) => typed(judgeRunning({ ...running, ...parts }, ordinary, null));
  const backend = (parts: object) => ({ backends: [{ ...running.backends[0], ...parts }] });
  assert.deepEqual(said({}), []);
  const [reason] = said({ ready: { ok: false, reasons: ['host: ip_forward is 0'] } });
  assert.equal(reason.text, 'the running director is not ready: host: ip_forward is 0');
  assert.deepEqual(ids(said({ healthy: { ok: false, reasons: ['a', 'b'] }, ready: { ok: false, reasons: ['b'] } })), [
    'error director-not-ready',
    'error director-not-ready',
  ]);
  const refused = said(backend({ unreachable: { last: 'port', age: 3 } }));
  assert.deepEqual(ids(refused), ['error tunnel-refused']);
  assert.match(refused[0].text, /web\/w1 \(10\.8\.1\.1\).*nothing unwraps/);
  assert.deepEqual(said(backend({ unreachable: { last: 'port', age: 300 } })), [], 'long ago');
  const checks = [
    { check: 'icmp', good: true, detail: null },
    { check: 'tunnel', good: false, detail: 'connection refused' },
  ];
  const [down] = said(backend({ health: { serves: false, checks } }));
  assert.match(down.text, /is down: check tunnel: connection refused/);
  assert.deepEqual(said(backend({ health: { serves: true, checks } })), []);
  const drops = said({ drops: { 'send-unreachable': 3, 'too-big': 400, 'not-a-service': 9, 'no-backend': 0 } });
  assert.deepEqual(
    drops.map(({ text }) => /as ([a-z-]+)/.exec(text)?.[1]),
    ['too-big', 'send-unreachable'],
  );
  assert.deepEqual(ids(said({ packets: { received: 1_000_000, lost: 99 } })), ['info kernel-losses']);
  assert.deepEqual(ids(said({ packets: { received: 1_000_000, lost: 101 } })), ['warning kernel-losses']);
});

test('drops and losses are of today: what is older than ten minutes is worth knowing, and no warning', () => {
  const said = (drops: RecentHistory['drops'], totals: RecentHistory['totals'] = [], since = '2026-11-23T14:00:00Z') => {
    const status = { ...running, drops: { 'too-big': 400, 'send-unreachable': 3 }, packets: { received: 1_000_000, lost: 101 } };
    return typed(judgeRunning(status, new Set(), { now: '2026-11-23T14:30:00Z', since, drops, totals }));
  };
  assert.deepEqual(ids(said([])), ['info drops', 'info drops', 'info kernel-losses']);
  assert.match(said([])[0].text, /^none in the last 10 minutes; 400 packets were dropped as too-big since/);
  assert.match(said([], [], '2026-11-23T14:29:00Z')[0].text, /^none in the last 60 seconds; /, 'of a process that took over');
  const [first, second] = said([{ name: 'send-unreachable', packets: 2 }]);
  assert.deepEqual([first.level, second.level], ['warning', 'info']);
  assert.match(first.text, /^2 packets were dropped as send-unreachable in the last 10 minutes, 3 since/);
  const lost = (packets: number) =>
    said(
      [],
      [
        { name: LOST_TOTAL, packets },
        { name: 'received', packets: 20_000 },
      ],
    )[2];
  assert.deepEqual([lost(2).level, lost(3).level], ['info', 'warning']);
  assert.match(lost(3).text, /lost 3 packets .*of 20003 in the last 10 minutes, 101 since/);
});

test('nobody who could be asked: what to type is a command', () => {
  const hint = 'set admin.socket: auto and restart the director (SIGHUP reloads it without)';
  const [off, denied] = typed([judgeAbsent('admin.socket is off', hint, false), judgeAbsent('EACCES', '', true)]);
  assert.deepEqual([off.level, off.fix], ['info', `systemctl status gue-director   # ${hint}`]);
  assert.deepEqual([denied.level, denied.fix], ['skipped', 'sudo gue-director doctor']);
  typed([judgeOtherFile('/etc/gue-director/other.yaml', 'director.yaml')]);
});

test('kernels: what the configured drivers need of them', () => {
  const facts: KernelFacts = { release: '6.18.44', segments: true, tunFeatures: 0x5103, processors: [0, 1, 4, 5, 6, 7] };
  const use: KernelUse = { ingress: 'tun', egress: 'auto', threads: 4, pin: false, idle: 'wait' };
  const said = (changes: Partial<KernelFacts>, uses: Partial<KernelUse> = {}) =>
    ids(typed(judgeKernel({ ...facts, ...changes }, { ...use, ...uses })));
  assert.deepEqual(said({}), []);
  assert.deepEqual(said({ release: '4.19.0-27-amd64' }), ['warning kernel-old']);
  assert.deepEqual(said({ segments: false }), ['warning kernel-without-segmentation']);
  assert.deepEqual(said({ segments: false }, { egress: 'raw' }), []);
  assert.deepEqual(said({ tunFeatures: 0x5003 }), ['error kernel-without-queues']);
  assert.deepEqual(said({ tunFeatures: 0x5003 }, { threads: 1 }), []);
  assert.deepEqual(said({ tunFeatures: null }), []);
  assert.deepEqual(said({ release: '6.16.1' }, { egress: 'tap-offload' }), ['error kernel-without-tunnel-offload']);
  assert.deepEqual(said({ release: '6.17.0' }, { egress: 'tap-offload' }), []);
  assert.deepEqual(said({}, { pin: true }), []);
  assert.deepEqual(said({}, { pin: [4, 5, 6, 7] }), []);
  assert.deepEqual(said({}, { pin: [4, 5, 6, 2] }), ['warning processor-missing']);
  assert.deepEqual(said({}, { pin: [4, 5] }), ['warning processors-few']);
  assert.deepEqual(said({ processors: [0, 1] }, { pin: true }), ['warning processors-few']);
  assert.deepEqual(said({}, { idle: 'busy' }), []);
  assert.deepEqual(said({ processors: [0, 1, 2, 3] }, { idle: 'busy' }), ['warning processors-busy']);
  assert.deepEqual(ids(judgeConntrack({ count: 100, most: 1000 })), []);
  assert.deepEqual(ids(typed(judgeConntrack({ count: 950, most: 1000 }))), ['warning conntrack-full']);
  assert.deepEqual(ids(judgeConntrack({ count: 1000, most: 1000 })), ['error conntrack-full']);
  assert.deepEqual(judgeConntrack(null), []);
});

test('xdp: its parts of the kernel, a queue for each thread, memory that may be locked', () => {
  const facts: XdpFacts = {
    sockets: true,
    bpf: true,
    compiles: true,
    queues: new Map([
      ['eth0', 2],
      ['eth1', 4],
    ]),
    lockable: 8_388_608,
  };
  const use: XdpUse = { ingress: 'eth0', egress: 'eth1', threads: 2 };
  const said = (changes: Partial<XdpFacts>, uses: Partial<XdpUse> = {}) =>
    ids(typed(judgeXdp({ ...facts, lockable: Number.POSITIVE_INFINITY, ...changes }, { ...use, ...uses })));
  assert.deepEqual(said({}), []);
  assert.deepEqual(said({ sockets: false }), ['error kernel-without-xdp']);
  assert.deepEqual(said({ bpf: false }), ['error kernel-without-xdp']);
  assert.deepEqual(said({ bpf: false, compiles: false }, { ingress: null }), []);
  assert.deepEqual(said({ compiles: false }), ['warning bpf-interpreted']);
  assert.deepEqual(said({}, { threads: 1 }), ['error xdp-queues']);
  assert.deepEqual(said({}, { threads: 5 }), ['error xdp-queues', 'error xdp-queues']);
  assert.deepEqual(said({}, { ingress: null, threads: 1 }), []);
  assert.deepEqual(said({ lockable: facts.lockable }), ['warning locked-memory']);
  assert.deepEqual(said({ lockable: facts.lockable, queues: new Map() }, { threads: 1 }), []);
  assert.deepEqual(said({ sockets: false, lockable: 0 }, { ingress: null, egress: null }), []);
});

test('offloads: LRO anywhere, GRO where packets come in', () => {
  const of = (lro: boolean, gro: boolean, incoming: boolean) =>
    typed(judgeOffloads([{ name: 'eth0', lro, gro, incoming }])).map(({ fix }) => fix);
  assert.deepEqual(of(false, true, true), []);
  assert.deepEqual(of(true, true, false), ['ethtool -K eth0 lro off']);
  assert.deepEqual(of(false, false, true), ['ethtool -K eth0 gro on']);
  assert.deepEqual(of(false, false, false), []);
});

test('a report names the worst first, says what is good, and has its exit code', () => {
  const areas = ['a', 'b', 'c'].map((id) => ({ id, checked: `part ${id}`, good: `${id} is good`, ids: [`${id}-1`, `${id}-2`] }));
  const found = (id: string, level: Found['level']): Found => ({ id, level, text: id, fix: '' });
  const told = (list: Found[], unseen: string[] = []) => reportOf('worker', areas, list, new Set(unseen));
  const report = told([found('a-1', 'warning'), found('a-2', 'info'), found('b-1', 'error'), found('c-1', 'info')]);
  assert.deepEqual(
    report.findings.map(({ id, checked }) => [id, checked]),
    [
      ['b-1', 'part b'],
      ['a-1', 'part a'],
      ['a-2', 'part a'],
      ['c-1', 'part c'],
      ['c', 'part c'],
    ],
  );
  assert.equal(report.worst, 'error');
  assert.deepEqual(ids(told([], ['a', 'b']).findings), ['ok c']);
  const code = (level: Found['level'], strict = false) => exitCodeOf(told([found('a-1', level)]), strict);
  assert.deepEqual([code('ok'), code('info'), code('skipped'), code('warning'), code('error')], [0, 0, 77, 0, 1]);
  assert.deepEqual([code('warning', true), code('info', true), code('skipped', true)], [1, 0, 77]);
  assert.equal(
    exitCodeOf(told([found('a-1', 'skipped'), found('b-1', 'error')]), false),
    1,
    'an error is worse than not knowing',
  );
  assert.throws(() => told([found('d-1', 'error')]), RangeError);
});

test('a silent backend: thrown away at the first router, vanished behind another, or nothing known', () => {
  const silent = (vanishing: Tried['vanishing'], route = tried().route) =>
    judge(tried({ short: false, long: false, largest: 0, vanishing, route }))[0];
  const swallowed = silent({ last: null, swallowed: true });
  assert.deepEqual([swallowed.id, swallowed.level], ['backend-blackholed', 'error']);
  assert.match(swallowed.text, /^10\.8\.0\.1, the first router on the way to backend web\/w1/);
  assert.match(swallowed.fix, /^ip route get 10\.8\.1\.1; .*# on 10\.8\.0\.1$/);
  const behind = silent({ last: { address: ip('10.9.0.3'), hop: 3 }, swallowed: false });
  assert.deepEqual([behind.id, behind.level], ['backend-silent', 'warning']);
  assert.match(behind.text, /vanish behind 10\.9\.0\.3 \(hop 3\)/);
  assert.match(silent({ last: null, swallowed: false }).text, /no router on the way tells more/);
  const onLink = { ...(tried().route as NonNullable<Tried['route']>), gateway: null };
  assert.match(silent({ last: null, swallowed: false }, onLink).text, /on this link/);
});

test('wrong checksums: one sender is told apart from a damaged way', () => {
  const sender = (address: string, right: number, wrong: number): Sender => ({ address, right, wrong, protocol: 'TCP' });
  assert.deepEqual(judgeArrivals([]), []);
  assert.deepEqual(judgeArrivals([sender('192.0.2.7', 9, 0)]), []);
  const [one] = typed(judgeArrivals([sender('192.0.2.7', 1, 3), sender('192.0.2.8', 5, 0)]));
  assert.deepEqual([one.id, one.level], ['checksums-wrong', 'error']);
  assert.match(
    one.text,
    /^3 of 4 packets from 192\.0\.2\.7 came in with a wrong TCP checksum, 5 of others were right: damaged by their sender/,
  );
  const [many] = typed(judgeArrivals([sender('192.0.2.7', 0, 3), sender('192.0.2.8', 0, 2)]));
  assert.match(many.text, /\(and of 1 more senders\) .* damaged by a link or offload in front of this host/);
});

test('what services do with what does not fit is said where the way is too small, and nowhere else', () => {
  const found: Found[] = [
    { id: 'path-mtu', level: 'warning', text: 'the MTU of eth0 is 1500', fix: 'x' },
    { id: 'drops', level: 'warning', text: 'some', fix: '' },
  ];
  assert.deepEqual(withPolicies(found, [{ name: 'a', oversize: 'segment' }, { name: 'b' }]), found);
  const [tells, other] = withPolicies(found, [
    { name: 'a', oversize: 'icmp' },
    { name: 'b', oversize: 'icmp' },
  ]);
  assert.equal(other, found[1]);
  assert.equal(tells.level, 'warning');
  assert.match(tells.text, /^the MTU of eth0 is 1500; service a and 1 more answers larger packets with ICMP/);
  const [drops] = withPolicies(found, [{ name: 'a', oversize: 'drop' }]);
  assert.deepEqual(
    [drops.level, drops.text],
    ['error', 'the MTU of eth0 is 1500; service a drops larger packets (oversize: drop)'],
  );
});
