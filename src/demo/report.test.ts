import assert from 'node:assert/strict';
import { test } from 'node:test';
import { metricsExcerpt, type Transfer, transferTable } from './report.ts';

const one = (worker: string, kind: 'download' | 'upload', family: number, good = true): Transfer => ({
  kind,
  family,
  worker,
  bytes: 1_500_000,
  milliseconds: 1,
  sha256: good ? 'a' : 'b',
  expected: 'a',
  good,
  error: '',
});

test('the table counts good transfers for each worker', () => {
  const transfers = [
    one('worker-1', 'download', 4),
    one('worker-1', 'upload', 6),
    one('worker-1', 'upload', 6, false),
    one('worker-2', 'upload', 6),
  ];
  const rows = transferTable(['worker-1', 'worker-2', 'worker-3'], transfers).split('\n');
  const cells = rows.map((row) => row.trim().split(/ {2,}/));
  assert.deepEqual(cells.slice(1), [
    ['worker-1', '1', '0', '0', '1', '3.0'],
    ['worker-2', '0', '0', '0', '1', '1.5'],
    ['worker-3', '0', '0', '0', '0', '0.0'],
    ['together', '1', '0', '0', '2', '4.5'],
  ]);
  assert.equal(new Set(rows.map((row) => row.length)).size, 1, 'columns are aligned');
});

test('the excerpt keeps what tells the story, and drops only where there were some', () => {
  const text = [
    '# HELP gue_director_received_packets_total x',
    'gue_director_received_packets_total 7',
    'gue_director_dropped_packets_total{reason="fragment"} 0',
    'gue_director_dropped_packets_total{reason="not-ip"} 10',
    'process_cpu_seconds_total 1',
  ].join('\n');
  assert.deepEqual(metricsExcerpt(text), [
    'gue_director_received_packets_total 7',
    'gue_director_dropped_packets_total{reason="not-ip"} 10',
  ]);
});
