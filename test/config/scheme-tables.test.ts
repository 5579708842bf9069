// Tables of peers as `table` and `check` show them: what the snapshot uses, with digests that tell directors apart that would not agree.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { poolTable } from '../../src/cli/pool-table.ts';
import { comparisonReport, slotLines, tableReport } from '../../src/cli/table-report.ts';
import { loadText } from '../../src/config/load.ts';
import { SnapshotBuilder } from '../../src/pipeline/snapshot-builder.ts';
import type { PoolSpec } from '../../src/pipeline/spec.ts';

const GLB = 'name: glb, seed: "34567890123456783456789012345678", hash-key: "12345678901234561234567890123456"';

function specOf(scheme: string, backends = ['10.1.0.1', '10.1.0.2', '10.1.0.3'], more = '') {
  const list = backends.map((address, i) => `{ name: "w${i}", address: ${address} }`);
  const text = `services: [{ name: s, address: 192.0.2.10, protocol: tcp, port: 443, pool: web }]
pools: { web: { scheme: ${scheme}, ${more}backends: [${list}] } }
tunnel: { source: { ipv4: 203.0.113.1 } }
`;
  return loadText(text, 'f').spec;
}

const pool = (...given: Parameters<typeof specOf>): PoolSpec => specOf(...given).pools[0];
const digest = (...given: Parameters<typeof specOf>) => poolTable(pool(...given)).digest;

const SCHEMES = [
  'maglev',
  'ipvs-mh',
  '{ name: ipvs-mh, mh-port: true, mh-fallback: true }',
  'katran',
  '{ name: katran, ring: v2 }',
].concat(`{ ${GLB} }`, `{ ${GLB}, second-hash-fields: [source-port] }`);

test('the digest that is shown is that of the snapshot', () => {
  for (const scheme of SCHEMES) {
    const spec = specOf(scheme);
    assert.deepEqual(
      new SnapshotBuilder().build(spec).names.pools.map((one) => one.digest),
      [poolTable(spec.pools[0]).digest],
      scheme,
    );
  }
});

test('two directors that would not agree have different digests', () => {
  const katran = (keys: string) => digest(`{ name: katran${keys} }`);
  const mh = (keys: string) => digest(`{ name: ipvs-mh${keys} }`);
  const glb = (keys: string) => digest(`{ ${GLB}${keys} }`);
  const all = [
    digest('maglev'),
    ...['', ', hash: both-ports', ', max-vips: 64'].map(katran),
    ...['', ', mh-port: true', ', mh-fallback: true', ', server-port: 1'].map(mh),
    ...['', ', hash-fields: [source-port]', ', second-hash-fields: [source-port]'].map(glb),
    digest(`{ ${GLB.replace('hash-key: "1', 'hash-key: "2')} }`),
    digest(`{ ${GLB.replace('seed: "3', 'seed: "4')} }`),
  ];
  assert.equal(new Set(all).size, all.length, all.join(' '));
});

test('the order of the file counts with ipvs-mh and nowhere else', () => {
  const reversed = ['10.1.0.3', '10.1.0.2', '10.1.0.1'];
  for (const scheme of SCHEMES) assert.equal(digest(scheme) === digest(scheme, reversed), !scheme.includes('ipvs-mh'), scheme);
});

test('slots of each backend, and with glb each row and its second', () => {
  const report = tableReport(pool('katran', ['10.0.0.1', '10.0.0.2', '10.0.0.3']), true);
  assert.deepEqual([report.scheme, report.seed, report.tableSize], ['katran', null, 65537]);
  assert.equal(
    report.backends.reduce((sum, { slots }) => sum + slots, 0),
    65537,
  );
  // Katran's own ring of these three: reals 2, 1, 3, 2, 1, 3, 3, 1, 1, 2.
  assert.deepEqual(report.slots?.slice(0, 10), ['w1', 'w0', 'w2', 'w1', 'w0', 'w2', 'w2', 'w0', 'w0', 'w1']);
  const rows = tableReport(pool(`{ ${GLB} }`, ['1.2.3.4', '2.3.4.5', '3.4.5.6']), true);
  assert.deepEqual(
    rows.backends.map(({ slots }) => slots),
    [21911, 21869, 21756],
  );
  assert.deepEqual(rows.slots?.slice(0, 5), ['w0', 'w0', 'w2', 'w0', 'w1']);
  assert.deepEqual(rows.seconds?.slice(0, 5), ['w1', 'w1', 'w1', 'w2', 'w2']);
  const lines = slotLines(pool(`{ ${GLB} }`, ['1.2.3.4', '2.3.4.5', '3.4.5.6'])).split('\n');
  assert.equal(lines[2], 'web 2 w2 3.4.5.6 w1 2.3.4.5');
});

test('what a change moves is told within a scheme; between schemes nearly everything moves', () => {
  const compare = (before: PoolSpec, after: PoolSpec) => comparisonReport([before], [after]).pools[0];
  assert.equal(compare(pool('katran'), pool('katran')).change, 'none');
  const moved = compare(pool('katran'), pool('katran', ['10.1.0.1', '10.1.0.2']));
  assert.equal(moved.change, 'moved');
  assert.ok((moved.disruption?.own ?? 0) > 21000);
  for (const [before, after] of [
    ['maglev', 'katran'],
    ['ipvs-mh', '{ name: ipvs-mh, mh-port: true }'],
    ['katran', '{ name: katran, hash: no-source-port }'],
    [`{ ${GLB} }`, `{ ${GLB}, hash-fields: [source-port] }`],
  ]) {
    assert.equal(compare(pool(before), pool(after)).change, 'rebuilt');
  }
  const draining = pool('ipvs-mh');
  const next = { ...draining, backends: draining.backends.map((b, i) => (i === 0 ? { ...b, state: 'draining' as const } : b)) };
  const quiesced = compare(draining, next);
  assert.equal(quiesced.change, 'moved');
  assert.ok((quiesced.disruption?.own ?? 0) > 1000);
});
