import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Config } from '../config/config.ts';
import { loadText } from '../config/load.ts';
import { inForce, NO_LAYERS } from './layers.ts';
import { configDigest, isEmpty, type Plan, planOf, planSummary } from './plan.ts';
import { restartProblems, settingChanges } from './restart.ts';

const YAML = `services:
  - { name: web, address: 192.0.2.80, protocol: tcp, port: [80, 443], pool: a }
  - { name: dns, address: 192.0.2.53, protocol: udp, port: 53, affinity: none, pool: b }
pools:
  a:
    table-size: 251
    backends:
      - { name: w1, address: 198.51.100.1 }
      - { name: w2, address: 198.51.100.2, weight: 2, tunnel: { encapsulation: fou, port: 6084 } }
  b:
    table-size: 251
    tunnel: { encapsulation: gre, ttl: copy }
    backends: [{ name: w1, address: 198.51.100.1 }]
tunnel: { port: 6080, source: { ipv4: 203.0.113.1 } }
threads: 1
fragments: { hold-bytes: 65536 }
log: { level: info, format: json }
`;

function planFor(change: (yaml: string) => string, tables = true, layers = NO_LAYERS): Plan {
  const [before, after] = [YAML, change(YAML)].map((yaml): Config => loadText(yaml, 'director.yaml'));
  const [now, wanted] = [before, after].map(({ spec }) => inForce(spec, layers));
  return planOf({ before, after, inForce: now, wanted, generation: 4, tables });
}

test('the same meaning is no change, whatever the comments and the order of keys', () => {
  const plan = planFor(
    (yaml) => `# a comment\n${yaml.replace('{ name: w1, address: 198.51.100.1 }', '{ address: 198.51.100.1, name: w1 }')}`,
  );
  assert.ok(isEmpty(plan), JSON.stringify(plan));
  assert.equal(planSummary(plan), 'nothing changed');
  assert.equal(plan.id, planFor((yaml) => yaml).id);
});

test('services, pools, backends and settings are told by the keys of the file', () => {
  const plan = planFor((yaml) =>
    yaml
      .replace('[80, 443]', '[80, 8080-8090]')
      .replace(/ {2}- \{ name: dns.*\n/, '  - { name: quic, address: 192.0.2.80, protocol: udp, port: 443, pool: b }\n')
      .replace('weight: 2', 'weight: 3')
      .replace('ttl: copy', 'ttl: 9, source: { ipv4: 203.0.113.0/28 }')
      .replace('- { name: w1, address: 198.51.100.1 }\n', '- { name: w3, address: 198.51.100.3 }\n')
      .replace('level: info', 'level: debug'),
  );
  assert.deepEqual(
    plan.services.map(({ name, change, keys }) => [
      name,
      change,
      keys.map(({ key, before, after }) => `${key} ${before} ${after}`),
    ]),
    [
      ['dns', 'removed', []],
      ['quic', 'added', []],
      ['web', 'changed', ['port 443, 80 80, 8080-8090']],
    ],
  );
  const [a, b] = plan.pools;
  assert.deepEqual([a.name, a.change, a.keys], ['a', 'changed', []]);
  assert.deepEqual(
    a.backends.map(({ name, change, keys }) => [name, change, keys.map(({ key }) => key)]),
    [
      ['w1', 'removed', []],
      ['w2', 'changed', ['weight']],
      ['w3', 'added', []],
    ],
  );
  assert.equal(a.table?.change, 'moved');
  assert.ok((a.table?.disruption?.own ?? 0) > 0);
  assert.deepEqual(
    b.keys.map(({ key }) => key),
    ['tunnel.source.ipv4', 'tunnel.source.ipv4 (spread)', 'tunnel.ttl'],
  );
  assert.equal(b.table?.change, 'none');
  assert.deepEqual(
    plan.settings.map(({ key, before, after, effect }) => [key, before, after, effect]),
    [['log.level', 'info', 'debug', 'reload']],
  );
  assert.equal(
    planSummary(plan),
    '1 service added, 1 service removed, 1 service changed; pool a: 1 backend added, 1 backend removed, 1 backend changed; pool b: changed; log.level'.replaceAll(
      ', 1 service',
      '; 1 service',
    ),
  );
});

test('a service that gets another pool is named; a pool whose seed changes is rebuilt; what is drained moves nothing', () => {
  const plan = planFor((yaml) =>
    yaml.replace('port: [80, 443], pool: a', 'port: [80, 443], pool: b').replace('  a:\n', '  a:\n    seed: 7\n'),
  );
  assert.deepEqual(plan.redirected, ['web']);
  assert.equal(plan.pools[0].table?.change, 'rebuilt');
  const drained = { ...NO_LAYERS, drains: new Map([['a/w1', 'draining' as const]]) };
  const gone = planFor((yaml) => yaml.replace('      - { name: w1, address: 198.51.100.1 }\n', ''), true, drained);
  assert.equal(gone.pools[0].table?.change, 'none', 'it had no slot left');
});

test('checks of a pool are settings of it, and part of what a configuration means', () => {
  const plan = planFor((yaml) => yaml.replace('  a:\n', '  a:\n    health: { checks: [{ type: tcp, port: 80 }] }\n'));
  assert.ok(!isEmpty(plan));
  assert.ok(plan.settings.length > 0);
  for (const { key, effect } of plan.settings)
    assert.deepEqual([key.startsWith('pools.a.health.'), effect], [true, 'reload'], key);
  assert.notEqual(plan.id, planFor((yaml) => yaml).id);
});

test('a pool is called as it is in the file, capitals and all', () => {
  const named = (yaml: string) => yaml.replaceAll('pool: a', 'pool: WebFront').replace('  a:\n', '  WebFront:\n');
  const [before, after] = [
    named(YAML),
    named(YAML).replace('  WebFront:\n', '  WebFront:\n    health: { checks: [{ type: icmp }] }\n'),
  ];
  const keys = settingChanges(loadText(before, 'a.yaml'), loadText(after, 'a.yaml')).map(({ key }) => key);
  assert.ok(keys.length > 0);
  for (const key of keys) assert.ok(key.startsWith('pools.WebFront.health.'), key);
});

test('what only a restart changes, with its place; a driver stands for all of its keys', () => {
  const config = (yaml: string) => loadText(yaml, 'director.yaml');
  const running = config(YAML);
  const problemsOf = (yaml: string) =>
    restartProblems(running, config(yaml), yaml).map(({ path, line, column }) => `${path} ${line}:${column}`);
  assert.deepEqual(problemsOf(YAML.replace('level: info', 'level: debug').replace('weight: 2', 'weight: 9')), []);
  assert.deepEqual(problemsOf(YAML.replace('threads: 1', 'threads: 2')), ['threads 15:10']);
  assert.deepEqual(problemsOf(YAML.replace('hold-bytes: 65536', 'hold-bytes: 65537, timeout: 9')), [
    'fragments.hold-bytes 16:26',
    'fragments.timeout 16:42',
  ]);
  assert.deepEqual(problemsOf(YAML.replace('format: json', 'format: text')), ['log.format 17:29']);
  assert.deepEqual(problemsOf(`ingress: { driver: packet, interface: eth7 }\n${YAML}`), ['ingress.driver 1:20']);
  assert.deepEqual(problemsOf(`${YAML}metrics: { listen: off }\nadmin: { socket: here.sock }\n`), [
    'metrics.listen 18:20',
    'admin.socket 19:18',
  ]);
});

test('a digest tells meanings apart', () => {
  const digest = (yaml: string) => configDigest(loadText(yaml, 'a.yaml'));
  assert.equal(digest(YAML), configDigest(loadText(`\n${YAML}`, 'b.yaml')));
  assert.notEqual(digest(YAML), digest(YAML.replace('weight: 2', 'weight: 3')));
  assert.notEqual(digest(YAML), digest(YAML.replace('hold-bytes: 65536', 'hold-bytes: 65537')));
});
