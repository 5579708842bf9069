import assert from 'node:assert/strict';
import { test } from 'node:test';
import { namesIn, unknownNames } from './promql.ts';

const PROMISED = new Map([
  ['a_total', { labels: ['x', 'y'] }],
  ['b', { labels: [] }],
  ['h_seconds', { labels: ['kind'] }],
]);

test('metrics, the labels asked of them, and what is grouped by', () => {
  const expression =
    'sum by (x, job) (rate(a_total{x=~"b{c}|d",y!="\\"z"}[5m:1m] offset 1h)) > bool 0.5e3 / on (job) group_left (y) b unless b{x="1"} or vector(0)';
  assert.deepEqual(namesIn(expression), {
    selectors: [
      { metric: 'a_total', labels: ['x', 'y'] },
      { metric: 'b', labels: [] },
      { metric: 'b', labels: ['x'] },
    ],
    grouping: ['x', 'job', 'job', 'y'],
  });
  assert.deepEqual(namesIn('sum(rate(a_total[$__rate_interval])) by (x)').grouping, ['x']);
  assert.throws(() => namesIn('{__name__="a"}'), RangeError);
  assert.throws(() => namesIn('a{__name__="a"}'), RangeError);
});

test('what does not exist is said', () => {
  assert.deepEqual(
    unknownNames('sum by (x, instance) (a_total{job="j"}) + up + rate(h_seconds_sum{kind="m"}[1m])', PROMISED),
    [],
  );
  assert.deepEqual(unknownNames('c + a_total{z="1"}', PROMISED), ['c does not exist', 'a_total has no label z']);
  assert.deepEqual(unknownNames('sum by (x) (b)', PROMISED), ['no metric of the expression has a label x']);
  assert.deepEqual(unknownNames('b{x="1"}', PROMISED), ['b has no label x']);
  assert.deepEqual(unknownNames('1 + 1', PROMISED), ['it names no metric']);
});
