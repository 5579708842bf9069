// `gue-director status` against the running daemon, while UDP clients that never fragment learn what its tunnels carry.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Status } from '../../src/admin/status.ts';
import { paintFor } from '../../src/cli/render/paint.ts';
import { statusText } from '../../src/cli/render/status.ts';
import { Actor, nodeCommand } from '../../src/demo/cast.ts';
import type { Lab } from '../../src/demo/lab/topology.ts';
import { tunnelError } from '../host/tunnel-icmp.ts';
import { needs } from '../needs.ts';
import { buildLab, configuration, eventually, METRICS_PORT, RunningDirector, TUNNEL_PORT } from './running-director.ts';

const CLI = nodeCommand('../cli/main')[1];
const SECONDS = 8;

/** Answers each datagram with its length. */
const SERVER = `
import select, socket, sys
sockets = []
for family, address in ((socket.AF_INET, sys.argv[1]), (socket.AF_INET6, sys.argv[2])):
    s = socket.socket(family, socket.SOCK_DGRAM); s.bind((address, 53)); sockets.append(s)
print('ready', flush=True)
while True:
    for s in select.select(sockets, [], [])[0]:
        data, client = s.recvfrom(65535)
        s.sendto(b'%d' % len(data), client)
`;

/** Sends the largest datagram that it believes in, never fragmented, until one is answered; says what it believed, and the answer. */
const CLIENT = `
import errno, socket, sys, time
there = sys.argv[1]
six = ':' in there
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
level, discover, mtu = (socket.IPPROTO_IPV6, 23, 24) if six else (socket.IPPROTO_IP, 10, 14)
s.setsockopt(level, discover, 2)
s.settimeout(0.5)
s.connect((there, 53))
end = time.time() + ${SECONDS}
while time.time() < end:
    believed = s.getsockopt(level, mtu)
    try:
        s.send(bytes(believed - (48 if six else 28)))
        print(believed, s.recv(100).decode())
        break
    except socket.timeout:
        print(believed, 'silence')
    except OSError as error:
        print(believed, errno.errorcode[error.errno])
`;

/** One datagram. */
const DATAGRAM = `
import socket, sys
socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', (sys.argv[1], 53))`;

function clientSays(lab: Lab, address: string): string[] {
  return lab.client.run('python3', ['-c', CLIENT, address]).trim().split('\n');
}

function status(lab: Lab, ...args: string[]): string {
  return lab.director.run(process.execPath, [...CLI, 'status', ...args]);
}

/** Every key of a value, as the table of docs/cli.md names it: `backends[].pathMtu.bytes`. */
function keysOf(value: unknown, at = ''): string[] {
  if (Array.isArray(value)) return value.length === 0 ? [] : keysOf(value[0], `${at}[]`);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => {
    const key = at === '' ? name : `${at}.${name}`;
    return name === 'drops' ? [key] : [key, ...keysOf(inner, key)];
  });
}

test(
  'UDP clients with DF learn the size of the tunnel from a running director, again when its path shrinks; status says so',
  needs('namespaces', 'tun', 'python3'),
  async (t) => {
    const lab = buildLab(t, 1, { insideMtu: 1500 });
    const [worker] = lab.workers;
    const director = await RunningDirector.start(t, lab, configuration(lab));
    const tunnel = Actor.start('worker', worker, '../cli/main', 'worker', '--port', String(TUNNEL_PORT));
    t.after(() => tunnel.child.kill('SIGKILL'));
    const server = worker.spawn('python3', ['-c', SERVER, lab.vip4, lab.vip6], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => server.kill('SIGKILL'));
    let said = '';
    server.stdout!.on('data', (text) => {
      said += text;
    });
    await tunnel.says('ready');
    await eventually(() => said.includes('ready'), 'the server is ready');

    // The services are crossed: IPv4 goes through IPv6 tunnels (1,500 − 52), IPv6 through IPv4 ones (1,500 − 32).
    assert.deepEqual(clientSays(lab, lab.vip4), ['1500 EMSGSIZE', '1448 1420']);
    assert.deepEqual(clientSays(lab, lab.vip6), ['1500 EMSGSIZE', '1468 1420']);
    assert.equal(director.metric('too_big_answers_total'), 2);

    const before = JSON.parse(status(lab, '--json', '--listen', `127.0.0.1:${METRICS_PORT}`)) as Status;
    assert.deepEqual([before.healthy.ok, before.ready, before.generation], [true, { ok: true, reasons: [] }, 1]);
    assert.deepEqual(
      before.backends.map(({ pool, pathMtu }) => [pool, pathMtu?.bytes, pathMtu?.innerBytes, pathMtu?.cause, pathMtu?.interface]),
      [
        ['over-4', 1500, 1468, 'route', 'eth0'],
        ['over-6', 1500, 1448, 'route', 'eth0'],
      ],
    );
    assert.equal(before.packets.forwarded, 2);
    assert.equal(before.packets.replied, 2);
    assert.deepEqual(
      before.services.map(({ name, packets }) => [name, packets]),
      [
        ['dns-4', 2],
        ['dns-6', 2],
      ],
    );

    // A router somewhere between says that it can carry 1,400.
    const { address4: source } = lab.director;
    const error = tunnelError({
      from: worker.address4,
      source,
      backend: worker.address4,
      port: TUNNEL_PORT,
      sourcePort: 50000,
      mtu: 1400,
    });
    const send = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
s.sendto(bytes.fromhex('${Buffer.from(error).toString('hex')}'), ('${source}', 0))`;
    worker.run('python3', ['-c', send]);
    await director.event('path-mtu');
    assert.deepEqual(clientSays(lab, lab.vip6), ['1468 EMSGSIZE', '1368 1320']);

    const after = JSON.parse(status(lab, '--json', '--listen', `127.0.0.1:${METRICS_PORT}`)) as Status;
    const { age, expiresIn, ...path } = after.backends[0].pathMtu!;
    assert.deepEqual(path, { bytes: 1400, innerBytes: 1368, cause: 'icmp', routeBytes: 1500, interface: 'eth0', wantedBytes: 0 });
    assert.ok(age < 60 && expiresIn !== null && expiresIn > 500 && expiresIn <= 600, `${age} ${expiresIn}`);
    const documented = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
    for (const key of keysOf(after)) assert.ok(documented.includes(`| \`${key}\` |`), `docs/cli.md does not explain ${key}`);

    const text = status(lab, '--listen', `127.0.0.1:${METRICS_PORT}`);
    assert.match(text, /^gue-director \S+: ready, up \d+ s/);
    assert.match(
      text,
      /over-4\/worker-1 +\S+ +gue 6080 +active +1 +100\.00 % +\d+ +\d+ +1400 +1368 +ICMP \d+ s ago, forgotten in (10 min|9 min \d+ s)/,
    );
    assert.match(text, /over-6\/worker-1 .* 1500 +1448 +route, eth0/);
    assert.ok(!text.includes('\u001b'), 'no colour in a pipe');

    assert.deepEqual(director.entries('backend-unreachable'), []);

    // The worker's tunnel port is closed.
    tunnel.child.kill('SIGKILL');
    await once(tunnel.child, 'exit');
    lab.client.run('python3', ['-c', DATAGRAM, lab.vip6]);
    const told = await director.event('backend-unreachable');
    assert.deepEqual([told.pool, told.backend, told.what, told.by], ['over-4', 'worker-1', 'port', worker.address4]);
    assert.match(String(told.hint), new RegExp(`^on the worker: .*ip fou add port ${TUNNEL_PORT} gue`));
    const counters = director.metrics();
    for (const [pool, messages] of [
      ['over-4', 1],
      ['over-6', 0],
    ] as const) {
      const name = `gue_director_backend_unreachable_total{pool="${pool}",backend="worker-1",kind="port"}`;
      assert.equal(counters.get(name), messages, name);
    }
    const closed = JSON.parse(director.get('/-/status').body) as Status;
    const { age: heard, ...counts } = closed.backends[0].unreachable!;
    assert.deepEqual(counts, { port: 1, protocol: 0, host: 0, net: 0, prohibited: 0, last: 'port' });
    assert.ok(heard !== null && heard < 60, String(heard));
    assert.match(statusText(closed, paintFor({}, {})), /\nbackend over-4\/worker-1: port unreachable, ICMP said \d+ s ago\n/);

    assert.equal(await director.actor.stop(), 0, director.actor.words);
  },
);

test('status without a director: exit code 69 and the next step; without a place to ask: why', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gd-status-'));
  try {
    const yaml = (listen: string) => {
      const file = join(folder, 'director.yaml');
      const example = readFileSync(new URL('../../config/director.yaml', import.meta.url), 'utf8');
      writeFileSync(file, example.replace(/listen: 127\.0\.0\.1:6079/, `listen: ${listen}`));
      return file;
    };
    for (const [args, code, words] of [
      // Port 1 is nobody's here.
      [['-c', yaml('127.0.0.1:1')], 69, /no director answers at 127\.0\.0\.1:1: ECONNREFUSED .*\n.*hint: .*systemctl status/],
      [['--listen', '[::1]:1', '--json'], 69, /GD_ADMIN_UNREACHABLE/],
      [['--listen', 'here:1'], 2, /GD_CLI_LISTEN/],
      [['-c', join(folder, 'none.yaml')], 78, /GD_CONFIG_FILE_MISSING/],
    ] as const) {
      const { status: got, stderr, stdout } = spawnSync(process.execPath, [...CLI, 'status', ...args], { encoding: 'utf8' });
      assert.deepEqual([got, stdout], [code, ''], stderr);
      assert.match(stderr, words);
    }
    for (const [listen, words] of [
      ['off', /GD_CLI_STATUS_OFF/],
      ['127.0.0.1:0', /GD_CLI_STATUS_PORT/],
    ] as const) {
      const { status: got, stderr } = spawnSync(process.execPath, [...CLI, 'status', '-c', yaml(listen)], {
        encoding: 'utf8',
      });
      assert.equal(got, 69);
      assert.match(stderr, words);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('status --check: silent and 0 when it is so, the reasons and 1 when not', async (t) => {
  const answer = {
    version: '1',
    backends: [],
    healthy: { ok: true, reasons: [] },
    ready: { ok: false, reasons: ['draining', 'x'] },
  };
  const server = createServer((_, response) => response.end(JSON.stringify(answer)));
  t.after(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const check = async (condition: string) => {
    const parameters = [...CLI, 'status', '--check', condition, '--listen', `127.0.0.1:${port}`];
    const child = spawn(process.execPath, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
    let words = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (words += text));
    const [code] = await once(child, 'close');
    return [code, words];
  };
  assert.deepEqual(await check('healthy'), [0, '']);
  assert.deepEqual(await check('ready'), [1, 'not ready\ndraining\nx\n']);
  assert.equal((await check('well'))[0], 2);
});
