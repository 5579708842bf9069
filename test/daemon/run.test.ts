// `gue-director run` as a process of its own, in namespaces: traffic, metrics, signals, faults, and what is left behind.

import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatAddress } from '../../src/base/address.ts';
import { Actor } from '../../src/demo/cast.ts';
import { Capture } from '../../src/demo/lab/capture.ts';
import type { Lab } from '../../src/demo/lab/topology.ts';
import { needs } from '../needs.ts';
import { complaints, unpromised } from '../observe/exposition.ts';
import { decodeTunnel, type Tunnel } from '../reference/tunnel.ts';
import {
  buildLab,
  configuration,
  eventually,
  RunningDirector,
  readPackets,
  sendDatagrams,
  TUNNEL_PORT,
} from './running-director.ts';

/** What the director's namespace has of nftables rules and the lock; links, addresses and routes are the lab's to compare. */
function rulesAndLocks(lab: Lab): string {
  return lab.director.run('sh', ['-c', 'nft list ruleset 2>/dev/null; grep -a gue-director /proc/net/unix || true']);
}

/** Where threads have arenas of C's allocator for themselves: so much as is used, and what is reserved up to 64 MiB (glibc malloc/arena.c, HEAP_MAX_SIZE). */
function arenas(pid: number): string[] {
  const mappings = readFileSync(`/proc/${pid}/maps`, 'utf8').matchAll(/^([0-9a-f]+)-([0-9a-f]+) (....) .*$/gm);
  const all = [...mappings].map(([line, begin, end, access]) => ({
    line,
    begin: BigInt(`0x${begin}`),
    end: BigInt(`0x${end}`),
    access,
  }));
  return all
    .filter(({ begin, end, access }, at) => {
      const rest = all[at + 1];
      const isWhole = rest?.access === '---p' && rest.begin === end && rest.end === begin + 0x4000000n;
      return access === 'rw-p' && begin % 0x4000000n === 0n && isWhole;
    })
    .map(({ line }) => line);
}

test(
  'packets to the VIP leave encapsulated, counters agree with what was sent, SIGTERM leaves nothing',
  needs('namespaces', 'tun', 'tcpdump', 'promtool'),
  async (t) => {
    const lab = buildLab(t, 2);
    const rulesBefore = rulesAndLocks(lab);
    // As a shell starts it: it sees to its allocator itself (src/daemon/allocator.ts).
    const settled = process.env.MALLOC_ARENA_MAX;
    delete process.env.MALLOC_ARENA_MAX;
    const director = await RunningDirector.start(t, lab, configuration(lab));
    if (settled !== undefined) process.env.MALLOC_ARENA_MAX = settled;
    assert.deepEqual(arenas(director.actor.child.pid as number), []);
    assert.deepEqual(director.get('/-/ready'), { status: 200, body: 'ready\n' });
    assert.deepEqual(director.get('/-/healthy'), { status: 200, body: 'healthy\n' });

    const file = join(tmpdir(), `gue-director-run-${process.pid}.pcap`);
    t.after(() => rmSync(file, { force: true }));
    const capture = await Capture.start(lab.director, 'eth0', file, `udp and dst port ${TUNNEL_PORT}`);
    sendDatagrams(lab, lab.vip4, 53, 40, 3);
    sendDatagrams(lab, lab.vip6, 53, 40, 3);
    sendDatagrams(lab, lab.vip4, 54, 5, 1);
    await eventually(() => director.metric('received_packets_total') >= 245, 'all packets are counted');
    await capture.stop();

    const tunnels = readPackets(file).map((packet) => decodeTunnel(packet));
    assert.equal(tunnels.length, 240);
    const workers = new Map(
      lab.workers.flatMap(({ role, address4, address6 }) => [[address4, role] as const, [address6, role] as const]),
    );
    const flows = new Map<string, Set<string>>();
    for (const tunnel of tunnels) {
      // The services are crossed on purpose: IPv4 in IPv6, IPv6 in IPv4.
      assert.equal(tunnel.outerFamily, tunnel.innerFamily === 4 ? 6 : 4);
      assert.equal(tunnel.destinationPort, TUNNEL_PORT);
      const source = tunnel.outerFamily === 4 ? lab.director.address4 : lab.director.address6;
      assert.equal(formatAddress(tunnel.source), source);
      const key = `${tunnel.innerFamily} ${innerSourcePort(tunnel)}`;
      const way = `${workers.get(formatAddress(tunnel.destination))} ${tunnel.sourcePort}`;
      flows.set(key, (flows.get(key) ?? new Set()).add(way));
    }
    assert.equal(flows.size, 80);
    assert.ok(
      [...flows.values()].every((ways) => ways.size === 1),
      'a flow keeps its worker and its outer source port',
    );

    const metrics = director.metrics();
    const value = (name: string) => metrics.get(`gue_director_${name}`);
    assert.equal(value('forwarded_packets_total'), 240);
    assert.equal(value('service_packets_total{service="dns-4"}'), 120);
    assert.equal(value('service_packets_total{service="dns-6"}'), 120);
    // Five are ours; the kernel's own multicast on the device (MLD reports) comes on top.
    assert.ok((value('dropped_packets_total{reason="not-a-service"}') ?? 0) >= 5);
    for (const [pool, innerFamily] of [
      ['over-6', 4],
      ['over-4', 6],
    ] as const) {
      for (const worker of lab.workers) {
        const sent = tunnels.filter((tunnel) => {
          return tunnel.innerFamily === innerFamily && workers.get(formatAddress(tunnel.destination)) === worker.role;
        });
        assert.ok(sent.length > 0);
        const labels = `{pool="${pool}",backend="${worker.role}"}`;
        assert.equal(value(`backend_packets_total${labels}`), sent.length);
        assert.equal(
          value(`backend_bytes_total${labels}`),
          sent.reduce((sum, tunnel) => sum + tunnel.inner.length, 0),
        );
      }
    }
    const dropped = [...metrics].filter(([name]) => name.startsWith('gue_director_dropped_packets_total'));
    assert.equal(
      value('received_packets_total'),
      240 + dropped.reduce((sum, [, packets]) => sum + packets, 0) + (value('replied_packets_total') ?? 0),
    );

    const thread = (name: string) => value(`thread_${name}{thread="0"}`) ?? 0;
    assert.equal(thread('received_packets_total'), value('received_packets_total'));
    assert.equal(thread('batches_total'), value('batches_total'));
    const text = director.get('/metrics').body;
    assert.deepEqual([...complaints(text), ...unpromised(text)], []);
    await eventually(() => director.metric('thread_cpu_seconds_total{thread="0"}') > 0, 'CPU time is told once a second');

    assert.notDeepEqual(lab.leftovers(), [], 'the comparison sees what a running director adds');
    assert.equal(await director.actor.stop(), 0);
    assert.deepEqual(lab.leftovers(), []);
    assert.equal(rulesAndLocks(lab), rulesBefore);
    assert.deepEqual(lab.director.processes(), []);
  },
);

function innerSourcePort({ inner, innerFamily }: Tunnel): number {
  const at = innerFamily === 4 ? 20 : 40;
  return inner[at] * 256 + inner[at + 1];
}

test(
  'an error in a forwarding thread is logged with its stack, counted, and recovered from; Ctrl-C leaves nothing',
  needs('namespaces', 'tun'),
  async (t) => {
    const lab = buildLab(t, 1);
    const director = await RunningDirector.start(t, lab, configuration(lab, { threads: 2 }));
    sendDatagrams(lab, lab.vip4, 53, 20, 1);
    await eventually(() => director.metric('forwarded_packets_total') === 20, 'traffic before the fault');
    director.actor.child.kill('SIGUSR2');
    const failed = await director.event('thread-failed');
    assert.equal(failed.level, 'error');
    assert.match(failed.stack ?? '', /Error: a fault was asked for\n +at /);
    await director.event('thread-restarted');
    // Sent after the restart or during it: main holds the queue, so nothing is lost either way.
    sendDatagrams(lab, lab.vip4, 53, 20, 5);
    await eventually(() => director.metric('forwarded_packets_total') === 120, 'traffic after the fault');
    assert.equal(director.metric('thread_failures_total{thread="0"}'), 1);
    assert.equal(director.metric('thread_failures_total{thread="1"}'), 0);
    assert.equal(director.get('/-/ready').status, 200);
    director.actor.child.kill('SIGINT');
    assert.equal(await director.actor.ended, 0);
    assert.deepEqual(lab.leftovers(), []);
  },
);

test(
  'a thread that fails again and again ends the director with exit code 1; the services stay silenced for its successor',
  needs('namespaces', 'tun'),
  async (t) => {
    const lab = buildLab(t, 1);
    const director = await RunningDirector.start(t, lab, configuration(lab));
    for (let failure = 1; failure <= 4; failure++) {
      director.actor.child.kill('SIGUSR2');
      await director.event('thread-failed', failure);
      if (failure < 4) await director.event('thread-restarted', failure);
    }
    assert.equal(await director.actor.ended, 1);
    assert.ok(director.log.some((entry) => entry.code === 'GD_DAEMON_THREADS_FAIL'));
    assert.match(director.entries('stopped')[0].msg, /the blackhole routes of the services stay/);
    const left = lab.leftovers();
    assert.equal(left.length, 2);
    assert.ok(
      left.every((fact) => /blackhole.*proto 77/.test(fact)),
      left.join('\n'),
    );
    const next = await RunningDirector.start(t, lab, configuration(lab));
    assert.equal(await next.actor.stop(), 0);
    assert.deepEqual(lab.leftovers(), []);
  },
);

test('a device and routes that somebody removed come back', needs('namespaces', 'tun'), async (t) => {
  const lab = buildLab(t, 1);
  const director = await RunningDirector.start(t, lab, configuration(lab));
  const routes = () => lab.director.run('ip', ['route', 'show', 'proto', '77']);
  const before = routes();
  lab.director.ip(`route del ${lab.vip4}/32 dev gd0`);
  assert.notEqual(routes(), before);
  await eventually(() => routes() === before, 'the route is back');
  lab.director.ip('link del gd0');
  await director.event('thread-restarted');
  await eventually(() => /gd0/.test(routes()), 'the device and its route are back');
  sendDatagrams(lab, lab.vip4, 53, 10, 1);
  await eventually(() => director.metric('forwarded_packets_total') === 10, 'traffic flows again');
  assert.equal(await director.actor.stop(), 0);
  assert.deepEqual(lab.leftovers(), []);
});

test(
  'kill -9 leaves only what clean lists; clean removes it; the next start adopts it',
  needs('namespaces', 'tun'),
  async (t) => {
    const lab = buildLab(t, 1);
    const kill = async () => {
      const director = await RunningDirector.start(t, lab, configuration(lab));
      director.actor.child.kill('SIGKILL');
      await director.actor.ended;
    };
    const clean = async (...options: string[]): Promise<string> => {
      const actor = Actor.start('clean', lab.director, '../cli/main', 'clean', ...options);
      assert.equal(await actor.ended, 0, actor.words);
      return actor.output;
    };
    await kill();
    const left = lab.leftovers();
    assert.deepEqual(
      left.filter((fact) => !/blackhole.*proto 77/.test(fact)),
      [],
      'blackhole routes and nothing else',
    );
    assert.equal(left.length, 2);
    const listed = await clean('--dry-run');
    for (const address of [lab.vip4, lab.vip6]) assert.ok(listed.includes(address), listed);
    assert.deepEqual(lab.leftovers(), left, '--dry-run only lists');

    const director = await RunningDirector.start(t, lab, configuration(lab));
    assert.equal(await director.actor.stop(), 0);
    assert.deepEqual(lab.leftovers(), []);

    await kill();
    await clean();
    assert.deepEqual(lab.leftovers(), []);
  },
);

test('a start that can not succeed says why, and leaves nothing', needs('namespaces', 'tun'), async (t) => {
  const lab = buildLab(t, 1);
  const first = await RunningDirector.start(t, lab, configuration(lab));
  const second = RunningDirector.launch(t, lab, configuration(lab));
  assert.equal(await second.actor.ended, 1);
  assert.ok(second.log.some((entry) => entry.code === 'GD_HOST_OWNED'));
  assert.equal(first.get('/-/ready').status, 200, 'the first one is not disturbed');
  assert.equal(await first.actor.stop(), 0);

  lab.director.sysctl({ 'net.ipv4.ip_forward': 0 });
  const refused = RunningDirector.launch(t, lab, configuration(lab));
  assert.equal(await refused.actor.ended, 1);
  assert.ok(refused.log.some((entry) => entry.level === 'error' && entry.hint === 'sysctl -w net.ipv4.ip_forward=1'));
  lab.director.sysctl({ 'net.ipv4.ip_forward': 1 });

  // Somebody else on the metrics port.
  const listener = lab.director.spawn(process.execPath, [
    '-e',
    "require('net').createServer().listen(6079, '127.0.0.1', () => console.log('up'))",
  ]);
  await new Promise((resolve) => listener.stdout?.once('data', resolve));
  const unheard = RunningDirector.launch(t, lab, configuration(lab));
  assert.equal(await unheard.actor.ended, 1);
  assert.ok(unheard.log.some((entry) => entry.code === 'GD_ADMIN_LISTEN'));
  listener.kill();

  const wrong = RunningDirector.launch(t, lab, 'services: 5\n');
  assert.equal(await wrong.actor.ended, 78);
  assert.deepEqual(lab.leftovers(), []);
});

test('signals at awkward moments: during the start, and twice', needs('namespaces', 'tun'), async (t) => {
  const lab = buildLab(t, 1);
  const early = RunningDirector.launch(t, lab, configuration(lab));
  await early.event('thread-started');
  early.actor.child.kill('SIGTERM');
  assert.equal(await early.actor.ended, 0, early.actor.words);
  assert.deepEqual(lab.leftovers(), []);

  const twice = await RunningDirector.start(t, lab, configuration(lab));
  twice.actor.child.kill('SIGTERM');
  twice.actor.child.kill('SIGINT');
  assert.ok([0, 1].includes(await twice.actor.ended), twice.actor.words);
  assert.deepEqual(lab.leftovers(), []);
  assert.deepEqual(lab.director.processes(), []);
});
