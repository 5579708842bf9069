// The doctor on a director, as an operator starts it: one host whose backends are broken each in another way. Every one gets its own finding and no other; with the
// commands applied the findings are gone.
//
//     director 10.8.0.2 --- r0 router r1 … r6 --- workers: one namespace, an address 10.8.N.1 behind each of the router's links
//                                                 1 good      2 link of 1,400 that says so   3 link of 1,400 that says nothing
//                                                 4 port closed   5 drops everything   6 no route on the director   and 10.8.0.77: nobody

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Report } from '../../src/doctor/finding.ts';
import { openDatagramSocket } from '../../src/raw-socket/datagram.ts';
import { closeDescriptor } from '../../src/raw-socket/file.ts';
import { Namespace, run, setSysctl } from '../host/namespace.ts';
import { address } from '../host/wanted.ts';
import { needs } from '../needs.ts';
import { built } from '../uml/director.ts';
import { typed } from './typed.ts';

const folder = mkdtempSync(join(tmpdir(), 'gue-director-doctor-'));
// For a user without privilege too.
chmodSync(folder, 0o755);
const [director, router, workers] =
  needs('root', 'namespaces', 'nft').skip === undefined ? [1, 2, 3].map(() => new Namespace()) : [];
const sockets: number[] = [];
after(() => {
  for (const socket of sockets) closeDescriptor(socket);
  for (const namespace of [director, router, workers]) namespace?.close();
  rmSync(folder, { recursive: true, force: true });
});

const file = join(folder, 'director.yaml');
const BACKENDS: Readonly<Record<string, string>> = {
  good: '10.8.1.1',
  good6: 'fd08:1::1',
  small: '10.8.2.1',
  hole: '10.8.3.1',
  hole6: 'fd08:3::1',
  closed: '10.8.4.1',
  silent: '10.8.5.1',
  nowhere: '10.8.6.1',
  nobody: '10.8.0.77',
};

function build(): void {
  director.connect('eth0', router, 'r0');
  for (const n of [1, 2, 3, 4, 5]) router.connect(`r${n}`, workers, `w${n}`);
  director.inside(() => {
    for (const line of ['link set eth0 mtu 1600', 'addr add 10.8.0.2/24 dev eth0', 'addr add fd08::2/64 dev eth0 nodad'])
      run(`ip ${line}`);
    run('ip route add default via 10.8.0.1');
    run('ip route add default via fd08::1');
    setSysctl('net/ipv4/conf/all/rp_filter', 0);
    setSysctl('net/ipv4/conf/eth0/rp_filter', 0);
    setSysctl('net/ipv6/conf/all/forwarding', 1);
    setSysctl('net/ipv4/ip_forward', 0);
    run('ip route add unreachable 10.8.6.0/24');
  });
  router.inside(() => {
    setSysctl('net/ipv4/ip_forward', 1);
    setSysctl('net/ipv6/conf/all/forwarding', 1);
    setSysctl('net/ipv4/conf/all/rp_filter', 0);
    run('ip link set r0 mtu 1600');
    run('ip addr add 10.8.0.1/24 dev r0');
    run('ip addr add fd08::1/64 dev r0 nodad');
    for (const n of [1, 2, 3, 4, 5]) {
      run(`ip link set r${n} mtu ${n === 2 ? 1400 : 1600}`);
      run(`ip addr add 10.8.${n}.254/24 dev r${n}`);
      run(`ip addr add fd08:${n}::fe/64 dev r${n} nodad`);
      setSysctl(`net/ipv4/conf/r${n}/rp_filter`, 0);
    }
  });
  workers.inside(() => {
    setSysctl('net/ipv4/conf/all/rp_filter', 0);
    for (const n of [1, 2, 3, 4, 5]) {
      // A veth drops what is larger than its own MTU, and tells nobody.
      run(`ip link set w${n} mtu ${n === 3 ? 1400 : 1600}`);
      run(`ip addr add 10.8.${n}.1/24 dev w${n}`);
      run(`ip addr add fd08:${n}::1/64 dev w${n} nodad`);
      setSysctl(`net/ipv4/conf/w${n}/rp_filter`, 0);
    }
    run('ip route add default via 10.8.1.254');
    run('ip route add default via fd08:1::fe');
    run('nft add table inet filter');
    run('nft add chain inet filter input { type filter hook input priority 0 ; }');
    run('nft add rule inet filter input ip daddr 10.8.5.1 drop');
    listen('good', 'good6', 'small', 'hole', 'hole6', 'silent');
  });
  const backends = Object.entries(BACKENDS).map(([name, at]) => `{ name: ${name}, address: "${at}" }`);
  writeFileSync(
    file,
    `services: [{ name: dns, address: [203.0.113.7, "2001:db8:9::7"], protocol: udp, port: 53, pool: front }]
pools: { front: { table-size: 907, backends: [${backends.join(', ')}] } }
tunnel: { source: { ipv4: 10.8.0.2, ipv6: "fd08::2" } }
ingress: { driver: tun, device: gd0 }
threads: 1
metrics: { listen: off }
admin: { socket: ${folder}/none.sock }
`,
  );
}

/** Takes tunnel packets there and says nothing, as a kernel that unwraps. In the current namespace. */
function listen(...names: string[]): void {
  for (const name of names) sockets.push(openDatagramSocket(address(BACKENDS[name]), 6080, 65536));
}

interface Told {
  readonly code: number | null;
  readonly report: Report;
}

async function doctor(args: readonly string[] = [], user = 0): Promise<Told> {
  const command = [built('cli/main'), 'doctor', '--json', '--config', file, ...args];
  const child = director.inside(() =>
    spawn(process.execPath, command, { uid: user, gid: user, stdio: ['ignore', 'pipe', 'pipe'] }),
  );
  let output = '';
  let complaints = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints += text;
  });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  assert.notEqual(output, '', complaints);
  const report = JSON.parse(output) as Report;
  typed(report.findings);
  return { code, report };
}

/** `error path-black-hole hole`: level, id, and the first backend that is named. Infos and what is good left out. */
function words({ findings }: Report): string[] {
  return findings
    .filter(({ level }) => level !== 'ok' && level !== 'info')
    .map(({ level, id, text }) => `${level} ${id} ${/front\/([a-z0-9]+)/.exec(text)?.[1] ?? ''}`.trim())
    .sort();
}

test(
  'each way that is broken has its own finding, and its command cures it',
  needs('root', 'namespaces', 'tun', 'nft'),
  async (t) => {
    build();
    const { code, report } = await doctor();
    assert.deepEqual([code, report.host, report.worst], [1, 'director', 'error']);
    assert.deepEqual(words(report), [
      'error ipv4-forwarding',
      'error neighbour-missing nobody',
      'error path-black-hole hole',
      'error path-black-hole hole6',
      'error tunnel-port-closed closed',
      'warning backend-silent silent',
      'warning backend-unreachable nowhere',
      'warning path-mtu small',
    ]);
    assert.ok(report.findings.findIndex(({ level }) => level === 'warning') === 5, 'the worst come first');
    const of = (id: string) => report.findings.filter((finding) => finding.id === id);
    assert.match(of('path-black-hole')[0].text, /packets of 1532 bytes .* those of 1400 arrive/);
    assert.match(of('backend-silent')[0].text, /packets vanish behind 10\.8\.0\.1 \(hop 1\)/);
    assert.match(of('path-mtu')[0].text, /carries 1400 bytes and refused 1532/);
    assert.ok(of('prefixes').length === 1 && of('devices').length === 1, 'what is good is said');

    await t.test('a user without privilege is told what was not looked at', async () => {
      const { code, report } = await doctor(['--no-probes'], 65534);
      assert.equal(code, 1, 'the setting of the kernel can be read by anybody');
      director.inside(() => setSysctl('net/ipv4/ip_forward', 1));
      const again = await doctor([], 65534);
      director.inside(() => setSysctl('net/ipv4/ip_forward', 0));
      assert.deepEqual(
        report.findings.filter(({ level, id }) => level === 'skipped' && id !== 'tun-denied').map(({ id }) => id),
        ['capability-missing', 'firewall-unknown'],
      );
      assert.ok(again.report.findings.some(({ id, level }) => id === 'path-not-probed' && level === 'skipped'));
      // Datagrams need no privilege: refusals are seen.
      assert.ok(words(again.report).includes('error tunnel-port-closed closed'));
    });

    await t.test('with the commands applied they are gone', async () => {
      director.inside(() => {
        for (const { fix } of [...of('path-black-hole'), ...of('ipv4-forwarding')]) {
          const { status, stderr } = spawnSync('sh', ['-c', fix], { encoding: 'utf8' });
          assert.equal(status, 0, `${fix}: ${stderr}`);
        }
      });
      router.inside(() => {
        run('ip link set r2 mtu 1600');
        run('ip route add 10.8.6.0/24 via 10.8.1.1');
      });
      workers.inside(() => {
        run('nft flush ruleset');
        run('ip addr add 10.8.6.1/32 dev lo');
        listen('closed', 'nowhere');
      });
      // On the director's own link; what it learned of the small one is forgotten in ten minutes.
      router.inside(() => {
        run('ip addr add 10.8.0.77/32 dev r0');
        sockets.push(openDatagramSocket(address('10.8.0.77'), 6080, 65536));
      });
      director.inside(() => {
        run('ip route del unreachable 10.8.6.0/24');
        run('ip route flush cache');
      });
      const { code, report } = await doctor();
      // Ways of 1,400 bytes are too small for a full packet still, and now the director knows.
      assert.deepEqual(words(report), ['warning path-mtu hole', 'warning path-mtu hole6'], JSON.stringify(report, null, 1));
      assert.equal(code, 0);
    });
  },
);

test(
  'as text: the worst in the first lines, no colour in a pipe; usage and configuration have their exit codes',
  needs('root', 'namespaces', 'tun', 'nft'),
  () => {
    const plain = (...args: string[]) =>
      director.inside(() =>
        spawnSync(process.execPath, [built('cli/main'), 'doctor', ...args], {
          encoding: 'utf8',
          env: { ...process.env, FORCE_COLOR: '' },
        }),
      );
    const told = plain('--config', file, '--no-probes');
    assert.match(told.stdout, /^this director is (well|not at its best|ill): /);
    assert.ok(!told.stdout.includes('\x1b'));
    assert.equal(plain('--vip', '192.0.2.10').status, 2);
    assert.equal(plain('--worker', '--vip', 'nonsense').status, 2);
    writeFileSync(join(folder, 'wrong.yaml'), 'services: 3\n');
    assert.equal(plain('--config', join(folder, 'wrong.yaml')).status, 78);
    director.inside(() => {
      run('nft add table inet f');
      run('nft add chain inet f in { type filter hook input priority 0 ; policy accept ; }');
      run('nft add rule inet f in udp dport { 53, 6080 } counter drop');
    });
    const worker = () => JSON.parse(plain('--worker', '--config', file, '--json').stdout) as Report;
    const { host, worst, findings } = worker();
    assert.deepEqual([host, worst], ['worker', 'error']);
    assert.ok(findings.some(({ id, level }) => id === 'not-a-backend' && level === 'warning'));
    const [dropped] = findings.filter(({ id }) => id === 'tunnel-dropped');
    assert.match(dropped.text, /UDP port 6080.*chain in in table inet f/);
    director.inside(() => run(dropped.fix));
    assert.ok(!worker().findings.some(({ id }) => id === 'tunnel-dropped'));
  },
);
