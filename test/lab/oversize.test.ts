// Packets too big for their tunnel through the running director, with kernels as judges: whatever is fragmented on the way arrives whole and
// right, and who is told believes it. The way to the workers carries 1,500 bytes, all other links 65,535, so that datagrams reach the director whole.
//
//     client ── 65,535 ── router ── 65,535 ── director
//                           └────── 1,500 ─── worker, answers directly

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Actor } from '../../src/demo/cast.ts';
import { type DirectorChoices, directorConfiguration, METRICS, WEB_PORT } from '../../src/demo/configuration.ts';
import { contentHash } from '../../src/demo/content.ts';
import { Lab, type LabOptions } from '../../src/demo/lab/topology.ts';
import { needs } from '../needs.ts';

const parts = needs('namespaces', 'tun', 'python3');
const UDP_PORT = 5000;
const PATH_MTU = 1500;

/**
 * `server ADDRESS`: answers every datagram with its length and CRC. `client ADDRESS SIZES`: sends datagrams that may be fragmented, one
 * after the other, and compares. `discover ADDRESS`: with DF, until what the path carries is known.
 */
const SCRIPT = `
import errno, os, socket, struct, sys, time, zlib
role, address = sys.argv[1:3]
family = socket.AF_INET6 if ':' in address else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(3)
if role == 'server':
    s.settimeout(None)
    s.bind((address, ${UDP_PORT}))
    print('ready', flush=True)
    while True:
        data, who = s.recvfrom(65536)
        s.sendto(struct.pack('!II', len(data), zlib.crc32(data)), who)
elif role == 'client':
    s.setsockopt(socket.IPPROTO_IP, 10, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    s.connect((address, ${UDP_PORT}))
    noise = os.urandom(65507)
    wrong = 0
    for size in map(int, sys.argv[3].split(',')):
        data = noise[:size]
        s.send(data)
        try:
            if struct.unpack('!II', s.recv(100)) != (size, zlib.crc32(data)): wrong += 1; print('wrong', size)
        except socket.timeout:
            wrong += 1; print('lost', size)
            if wrong > 3: break
    print('done', wrong, flush=True)
else:
    level, discover, mtu = (socket.IPPROTO_IPV6, 23, 24) if family == socket.AF_INET6 else (socket.IPPROTO_IP, 10, 14)
    headers = 48 if family == socket.AF_INET6 else 28
    s.setsockopt(level, discover, 2)
    s.connect((address, ${UDP_PORT}))
    before = s.getsockopt(level, mtu)
    s.send(bytes(before - headers))
    error, end = 0, time.time() + 3
    while error == 0 and time.time() < end:
        error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        time.sleep(0.01)
    now = s.getsockopt(level, mtu)
    s.send(bytes(now - headers))
    print('done', errno.errorcode.get(error), before, now, struct.unpack('!II', s.recv(100))[0] == now - headers, flush=True)
`;

interface Stage {
  readonly lab: Lab;
  readonly director: Actor;
  readonly worker: Actor;
}

async function open(t: TestContext, choices: DirectorChoices, options: LabOptions, extra = ''): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-oversize-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const lab = Lab.create({ workers: 1, ...options });
  t.after(() => lab.close());
  if (options.workersRouted === true) {
    lab.setFarMtu(PATH_MTU);
    lab.director.ip(
      `route add 10.80.2.0/24 via ${lab.router.address4} mtu ${PATH_MTU}`,
      `route add fd80:0:0:2::/64 via ${lab.router.address6} mtu ${PATH_MTU}`,
    );
  }
  const file = join(folder, 'director.yaml');
  const { oversize = 'segment' } = choices;
  const service = (name: string, address: string) =>
    `  - { name: udp-${name}, address: "${address}", protocol: udp, port: ${UDP_PORT}, pool: web-${name}, oversize: ${oversize} }\n`;
  const services = `services:\n${service('4', lab.vip4)}${service('6', lab.vip6)}`;
  writeFileSync(file, directorConfiguration(lab, choices).replace('services:\n', services) + extra);
  const director = Actor.start('director', lab.director, '../cli/main', 'run', '--config', file);
  const worker = Actor.start('worker', lab.workers[0], '../cli/main', 'worker');
  await worker.says('ready');
  const probe = Actor.start('probe', lab.director, './fetch', `http://${METRICS}/-/ready`, '20');
  await Promise.race([probe.ended, director.fails(25)]);
  return { lab, director, worker };
}

const python = (lab: Lab, who: 'client' | 'worker', ...args: string[]): Actor =>
  Actor.command(`${who} ${args[0]}`, who === 'client' ? lab.client : lab.workers[0], 'python3', '-c', SCRIPT, ...args);

/** Counters of the director by name with labels. */
async function counters({ lab }: Stage): Promise<Map<string, number>> {
  const probe = Actor.start('metrics', lab.director, './fetch', `http://${METRICS}/metrics`, '5');
  await probe.ended;
  const lines = probe.output.split('\n').filter((line) => line.startsWith('gue_director_'));
  return new Map(lines.map((line) => [line.slice(13, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

const totalOf = (counted: Map<string, number>, start: string): number =>
  [...counted].filter(([name]) => name.startsWith(start)).reduce((sum, [, value]) => sum + value, 0);

/** Drops whose number is not 0, but of what no service is asked about. */
const drops = (counted: Map<string, number>): string[] =>
  [...counted]
    .filter(([name, n]) => n > 0 && name.startsWith('dropped_packets_total') && !/not-a-service|icmp-not-steered/.test(name))
    .map(([name, n]) => `${name} ${n}`);

/** A field of /proc/net/snmp in a namespace. */
function snmp(lab: Lab, who: 'client' | 'router' | 'worker', group: string, field: string): number {
  const space = who === 'worker' ? lab.workers[0] : lab[who];
  const lines = space.run('cat', ['/proc/net/snmp']).split('\n');
  const [names, values] = lines.filter((line) => line.startsWith(`${group}:`)).map((line) => line.split(' '));
  return Number(values[names.indexOf(field)]);
}

/** Lengths at which a part more is needed, inside and outside and over both families, with what is one byte beside; and any. */
function sizes(): number[] {
  const found = new Set([0, 1, 8, 9, 65_507, 65_506, 65_475, 65_476, 65_455, 65_456, 65_495]);
  for (const unit of [1448, 1480, 1424, 1448]) {
    for (const n of [1, 2, 3, 10, 22, 43]) for (let d = -28; d <= 12; d += 4) found.add(n * unit - 8 + d);
  }
  for (let n = 0; n < 60; n++) found.add((n * 16_411 + 977) % 65_508);
  return [...found].filter((size) => size >= 0 && size <= 65_507);
}

for (const [oversize, tunnel4, egress, checksum] of [
  ['segment', 4, 'raw', 'full'],
  ['fragment-inner', 6, 'udp', 'auto'],
  ['fragment-outer', 4, 'raw', 'full'],
  ['fragment-outer', 6, 'auto', 'auto'],
] as const) {
  test(
    `${oversize} over IPv${tunnel4}, ${egress} out: UDP datagrams that may be fragmented arrive whole, of every size up to 65,507`,
    parts,
    async (t) => {
      const stage = await open(
        t,
        {
          oversize,
          tunnel4,
          checksum,
          egress: `{ driver: ${egress} }`,
          ingress: tunnel4 === 4 ? '{ driver: tun, device: gd0 }' : '{ driver: packet, interface: eth0 }',
        },
        { workersRouted: true, clientMtu: 65_535, insideMtu: 65_535 },
      );
      const { lab } = stage;
      const server = python(lab, 'worker', 'server', lab.vip4);
      await server.says('ready');
      const all = sizes();
      const fragmentsBefore = snmp(lab, 'router', 'Ip', 'FragCreates');
      const client = python(lab, 'client', 'client', lab.vip4, all.join(','));
      assert.equal(await client.ended, 0, client.words);
      assert.match(client.output, /^done 0$/m, client.output + stage.director.words);
      const counted = await counters(stage);
      assert.deepEqual(drops(counted), []);
      const inner = totalOf(counted, 'fragmented_inner_packets_total');
      const outer = totalOf(counted, 'fragmented_outer_packets_total');
      t.diagnostic(`${all.length} datagrams, ${inner} fragmented inside, ${outer} outside`);
      // Of what is longer than any tunnel packet there is little.
      if (oversize === 'fragment-outer') assert.ok(outer > all.length / 2 && inner > 0 && inner < 20);
      else assert.ok(inner > all.length / 2 && outer === 0);
      assert.equal(snmp(lab, 'router', 'Ip', 'FragCreates'), fragmentsBefore, 'nobody else fragmented anything');
      if (tunnel4 === 4)
        assert.ok(snmp(lab, 'worker', 'Ip', 'ReasmOKs') > all.length / 2, 'the worker’s kernel put them together');
      assert.equal(snmp(lab, 'worker', 'Ip', 'ReasmFails'), 0);
      assert.equal(await stage.director.stop(), 0, stage.director.words);
    },
  );
}

for (const ingress of ['{ driver: tun, device: gd0 }', '{ driver: packet, interface: eth0 }']) {
  test(
    `segment-and-tell, ${ingress}: nothing is lost, and the client’s path MTU changes; UDP with DF learns it too`,
    parts,
    async (t) => {
      const stage = await open(t, { oversize: 'segment-and-tell', ingress }, { insideMtu: 1500 });
      const { lab } = stage;
      const server = Actor.start('server', lab.workers[0], './web-server', 'worker-1', String(WEB_PORT));
      await server.says('ready');
      const bytes = 1_000_000;
      const client = Actor.start('client', lab.client, './web-client');
      const orders = [lab.vip4, lab.vip6].map((address) => ({ kind: 'upload', address, port: WEB_PORT, bytes }));
      client.child.stdin!.end(`${JSON.stringify(orders)}\n`);
      for (const line of await client.lines(orders.length, 20)) {
        const { sha256, error } = JSON.parse(line) as { sha256: string; error: string };
        assert.deepEqual([error, sha256], ['', contentHash(bytes)], stage.director.words);
      }
      const told = [
        lab.client.run('ip', ['-4', 'route', 'get', lab.vip4]),
        lab.client.run('ip', ['-6', 'route', 'get', lab.vip6]),
      ];
      assert.match(told[0], / mtu 1468\b/);
      assert.match(told[1], / mtu 1448\b/);
      const counted = await counters(stage);
      assert.deepEqual(drops(counted), []);
      const cut = totalOf(counted, 'resegmented_packets_total');
      const answers = totalOf(counted, 'too_big_answers_total');
      assert.ok(cut >= 2 && answers >= 2 && answers <= cut, `${cut} cut, ${answers} answers`);
      assert.equal(totalOf(counted, 'too_big_answers_lost_total'), 0);
      // From then on the client's segments fit.
      const again = snmp(lab, 'client', 'Tcp', 'RetransSegs');
      t.diagnostic(
        `${cut} cut, ${answers} answers, ${totalOf(counted, 'received_packets_total')} packets, ${again} segments sent again`,
      );
      lab.client.run('ip', ['-4', 'route', 'flush', 'cache']);
      lab.client.run('ip', ['-6', 'route', 'flush', 'cache']);
      for (const [address, fits] of [
        [lab.vip4, 1468],
        [lab.vip6, 1448],
      ] as const) {
        const datagrams = python(lab, 'worker', 'server', address);
        await datagrams.says('ready');
        const sender = python(lab, 'client', 'discover', address);
        assert.equal(await sender.ended, 0, sender.words);
        assert.match(sender.output, new RegExp(`^done EMSGSIZE 1500 ${fits} True$`, 'm'), sender.words + stage.director.words);
      }
      assert.equal(await stage.director.stop(), 0, stage.director.words);
    },
  );
}
