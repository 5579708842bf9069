import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BACKENDS_AT, counterAt, createBank, DROPS_AT, MAX_BACKENDS, SEND_ERRORS_AT, SERVICES_AT } from '../base/counters.ts';
import { DROP_REASONS, dropReason } from '../base/drop-reason.ts';
import { SEND_ERRORS } from '../base/send-error.ts';
import { createMetrics, type MetricSource } from './metrics.ts';

function source(banks: readonly Float64Array[], change: Partial<MetricSource> = {}): MetricSource {
  return {
    version: '1.2.3',
    flows: () => ({
      path: '/run/gd/flows',
      outcome: 'picked-up',
      pickedUp: { entries: 17 },
      bytes: 20_480,
      entries: 1024,
      regions: 2,
      used: 300,
    }),
    banks: () => banks,
    names: () => ({
      services: [{ id: 3, name: 'web' }],
      pools: [
        { name: 'front', digest: '0123456789abcdef', moved: 0.25 },
        { name: 'new', digest: 'fedcba9876543210', moved: null },
      ],
      backends: [
        {
          id: 7,
          pool: 'front',
          name: 'w1',
          state: 'draining',
          slots: 40,
          weight: 2,
          effectiveWeight: 0.6,
          encapsulation: 'gre',
          overhead: 24,
        },
        {
          id: MAX_BACKENDS + 5,
          pool: 'front',
          name: 'late',
          state: 'active',
          slots: 0,
          weight: 0,
          effectiveWeight: 0,
          encapsulation: 'gue',
          overhead: 32,
        },
      ],
    }),
    generation: () => 9,
    readiness: () => ({
      director: { ok: true },
      services: new Map([
        ['web', { ok: true }],
        ['dns', { ok: false }],
      ]),
    }),
    takeoverFailures: () => 2,
    draining: () => true,
    discovery: () => [
      { file: '/etc/a.yaml', seenAt: 1700000001, backends: 3, problem: null, failures: 0 },
      { file: '/etc/b.yaml', seenAt: 0, backends: 0, problem: 'missing', failures: 2 },
    ],
    reload: () => ({ successful: true, succeededAt: 1700000000, digest: '00ff', counts: { success: 3, refused: 1 } }),
    kernelDrops: () => [{ driver: 'tun:gd0', packets: 4 }],
    pathMtus: () => [
      { pool: 'web', backend: 'w1', mtu: 1500, wanted: 1532 },
      { pool: 'web', backend: 'w2', mtu: 0, wanted: 0 },
    ],
    unreachable: () => [{ pool: 'web', backend: 'w1', counts: { port: 3, host: 0 } }],
    health: () => ({
      pools: [{ name: 'web', isBelow: true }],
      backends: [
        {
          pool: 'web',
          name: 'w1',
          up: false,
          heldFor: 3,
          changes: { up: 1, down: 2 },
          checks: [
            { check: 'http:80', counts: { good: 5, bad: 6, failed: 7 }, last: { milliseconds: 250 } },
            { check: 'icmp', counts: { good: 0, bad: 0, failed: 0 }, last: null },
          ],
        },
      ],
    }),
    threads: () => [{ number: 0, failures: 2, heartbeatAge: 1 }],
    ...change,
  };
}

/** Sample lines of the exposition: name with labels → value. */
function samples(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

test('banks of all threads are summed under their names', async () => {
  const banks = [createBank(), createBank()];
  banks[0][counterAt('received_packets_total')] = 5;
  banks[1][counterAt('received_packets_total')] = 7;
  banks[0][counterAt('forwarding_cpu_seconds_total')] = 1.5;
  banks[1][counterAt('forwarding_cpu_seconds_total')] = 0.5;
  banks[1][DROPS_AT + dropReason('no-backend')] = 3;
  banks[1][SEND_ERRORS_AT + SEND_ERRORS.indexOf('ENOBUFS')] = 6;
  banks[0][SERVICES_AT + 6] = 11;
  banks[0][SERVICES_AT + 7] = 1100;
  banks[0][BACKENDS_AT + 14] = 4;
  banks[1][BACKENDS_AT + 15] = 400;
  banks[0][BACKENDS_AT + 2 * (MAX_BACKENDS - 1)] = 1;
  const found = samples(await createMetrics(source(banks), { processMetrics: false }).render());
  const expected: Record<string, number> = {
    gue_director_received_packets_total: 12,
    'gue_director_thread_received_packets_total{thread="0"}': 5,
    'gue_director_thread_cpu_seconds_total{thread="0"}': 1.5,
    gue_director_forwarding_cpu_seconds_total: 2,
    'gue_director_table_moved_slots_ratio{pool="front"}': 0.25,
    gue_director_flow_table_used_entries: 300,
    'gue_director_dropped_packets_total{reason="no-backend"}': 3,
    'gue_director_send_errors_total{errno="ENOBUFS"}': 6,
    'gue_director_send_errors_total{errno="other"}': 0,
    'gue_director_service_packets_total{service="web"}': 11,
    'gue_director_service_bytes_total{service="web"}': 1100,
    'gue_director_backend_packets_total{pool="front",backend="w1"}': 4,
    'gue_director_backend_bytes_total{pool="front",backend="w1"}': 400,
    'gue_director_backend_tunnel_overhead_bytes{pool="front",backend="w1",encapsulation="gre"}': 24,
    'gue_director_backend_packets_total{pool="front",backend="late"}': 1,
    'gue_director_backend_table_slots{pool="front",backend="w1"}': 40,
    'gue_director_backend_state{pool="front",backend="w1",state="active"}': 0,
    'gue_director_backend_state{pool="front",backend="w1",state="draining"}': 1,
    gue_director_ready: 1,
    'gue_director_service_ready{service="web"}': 1,
    'gue_director_service_ready{service="dns"}': 0,
    gue_director_takeover_failures_total: 2,
    gue_director_draining: 1,
    'gue_director_discovery_file_last_success_timestamp_seconds{file="/etc/a.yaml"}': 1700000001,
    'gue_director_discovery_file_failed{file="/etc/a.yaml"}': 0,
    'gue_director_discovery_file_failed{file="/etc/b.yaml"}': 1,
    'gue_director_discovery_file_failures_total{file="/etc/b.yaml"}': 2,
    'gue_director_discovery_file_backends{file="/etc/a.yaml"}': 3,
    'gue_director_backend_weight{pool="front",backend="w1"}': 2,
    'gue_director_backend_unreachable_total{pool="web",backend="w1",kind="port"}': 3,
    'gue_director_backend_unreachable_total{pool="web",backend="w1",kind="host"}': 0,
    'gue_director_table_digest_info{pool="front",digest="0123456789abcdef"}': 1,
    'gue_director_kernel_dropped_packets_total{driver="tun:gd0"}': 4,
    'gue_director_thread_failures_total{thread="0"}': 2,
    'gue_director_thread_heartbeat_age_seconds{thread="0"}': 1,
    [`gue_director_build_info{version="1.2.3",node="${process.versions.node}"}`]: 1,
    gue_director_snapshot_generation: 9,
    gue_director_config_last_reload_successful: 1,
    gue_director_config_last_reload_success_timestamp_seconds: 1700000000,
    gue_director_flow_table_entries: 1024,
    gue_director_flow_table_bytes: 20_480,
    gue_director_flow_table_regions: 2,
    gue_director_flow_table_picked_up_entries: 17,
    'gue_director_flow_file_info{path="/run/gd/flows",outcome="picked-up"}': 1,
    'gue_director_backend_effective_weight{pool="front",backend="w1"}': 0.6,
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(found.get(name), value, name);
  assert.equal(found.has('gue_director_table_moved_slots_ratio{pool="new"}'), false);
});

test('a second scrape shows what is, not the sum of both', async () => {
  const bank = createBank();
  let backends = [
    {
      id: 1,
      pool: 'p',
      name: 'gone',
      state: 'active',
      slots: 1,
      weight: 1,
      effectiveWeight: 1,
      encapsulation: 'gue',
      overhead: 32,
    },
  ];
  const metrics = createMetrics(source([bank], { names: () => ({ services: [], pools: [], backends }) }), {
    processMetrics: false,
  });
  bank[0] = 2;
  await metrics.render();
  bank[0] = 3;
  backends = [
    {
      id: 2,
      pool: 'p',
      name: 'new',
      state: 'active',
      slots: 1,
      weight: 1,
      effectiveWeight: 1,
      encapsulation: 'gue',
      overhead: 32,
    },
  ];
  const found = samples(await metrics.render());
  assert.equal(found.get('gue_director_received_packets_total'), 3);
  assert.equal(found.get('gue_director_backend_weight{pool="p",backend="new"}'), 1);
  assert.equal(found.has('gue_director_backend_weight{pool="p",backend="gone"}'), false);
});

test('every drop reason has a sample, at zero too, and "none" has not', async () => {
  const text = await createMetrics(source([createBank()]), { processMetrics: false }).render();
  const reasons = [...text.matchAll(/dropped_packets_total\{reason="([^"]+)"\} 0/g)].map((match) => match[1]);
  assert.deepEqual(
    reasons,
    DROP_REASONS.slice(1).map((entry) => entry.word),
  );
});

test('names follow the Prometheus conventions', async () => {
  const text = await createMetrics(source([createBank()]), { processMetrics: false }).render();
  for (const [, name, kind] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    assert.match(name, /^gue_director_[a-z][a-z0-9_]*[a-z0-9]$/);
    assert.equal(name.endsWith('_total'), kind === 'counter', `${name} is a ${kind}`);
    assert.ok(text.includes(`# HELP ${name} `), name);
  }
});

test('docs/metrics.md and the registry name the same metrics, with the same type', async () => {
  const metrics = createMetrics(source([createBank()]));
  const page = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
  const upToUse = page.slice(0, page.indexOf('## What to watch'));
  const documented = [...upToUse.matchAll(/`((?:gue_director|process|nodejs)_[a-z0-9_]+)`/g)].map((match) => match[1]);
  assert.deepEqual([...new Set(documented)].sort(), [...metrics.names].sort());
  assert.equal(new Set(documented).size, documented.length, 'a metric is documented twice');
  const text = await metrics.render();
  for (const [, name, type] of upToUse.matchAll(/^\| `([a-z0-9_]+)` \| (\w+) \|/gm)) {
    assert.ok(text.includes(`# TYPE ${name} ${type}\n`), `${name} is no ${type}`);
  }
  const used = [...page.matchAll(/gue_director_[a-z0-9_]+/g)].map((match) => match[0]);
  for (const name of used) assert.ok(metrics.names.includes(name), name);
});
