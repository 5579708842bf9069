// What dashboards and alerts of others are built on: names, types, labels and help stay as they are; promtool has no complaint; and how many
// series there are is known beforehand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UNREACHABLE_KINDS } from '../../src/host/icmp-quote.ts';
import { createMetrics } from '../../src/observe/metrics.ts';
import { needs } from '../needs.ts';
import { read } from '../rules/sources.ts';
import { complaints, unpromised } from './exposition.ts';
import { parseGolden, promisedMetrics } from './golden.ts';
import { richSource, type Size, SMALL } from './rich-source.ts';

const RICH: Size = { services: 3, pools: 2, backends: 5, checked: 4, checks: 6, threads: 2, files: 2, ingresses: 1 };

/** How the rows of docs/metrics.md call them. */
const WORDS = {
  fixed: 'director',
  services: 'service',
  pools: 'pool',
  backends: 'backend',
  checked: 'backend with checks',
  checks: 'check of a backend',
  threads: 'forwarding thread',
  files: 'watched file',
  ingresses: 'ingress',
} as const;

async function series(size: Size): Promise<number> {
  const text = await createMetrics(richSource(size), { processMetrics: false }).render();
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
}

test('names, types, labels and help are those of metrics.golden', () => {
  const golden = read('test/observe/metrics.golden')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const now = createMetrics(richSource(RICH))
    .families.map(({ name, type, labels, help }) => `${name} ${type} ${labels.join(',') || '-'} ${help}`)
    .sort();
  const gone = golden.filter((line) => !now.includes(line));
  const made = now.filter((line) => !golden.includes(line));
  // A name or label that is gone breaks somebody's dashboard: that takes a major version. A new one is added to the file by hand.
  assert.deepEqual({ gone, made }, { gone: [], made: [] });
  assert.deepEqual(golden, [...golden].sort(), 'the file is sorted');
  assert.equal(parseGolden(golden.join('\n')).size, golden.length);
  assert.ok(promisedMetrics().has('gue_director_dropped_packets_total'), 'design: a promised name');
});

test('every sample has exactly the labels that its family promises', async () => {
  const seen = new Set<string>();
  assert.deepEqual(unpromised(await createMetrics(richSource(RICH)).render(), seen), []);
  const silent = [...promisedMetrics().keys()].filter((name) => name.startsWith('gue_director_') && !seen.has(name));
  assert.deepEqual(silent, [], 'a metric without a sample');
  assert.equal(unpromised('gue_director_ready{x="1"} 1\n# TYPE gue_director_ready counter\nnew_thing 1\n').length, 3);
});

test('promtool check metrics has no complaint', needs('promtool'), async () => {
  assert.deepEqual(complaints(await createMetrics(richSource(RICH)).render()), []);
  assert.equal(complaints('# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n').length, 1, 'it does complain');
  assert.equal(complaints('no text of metrics').length, 1);
});

test('the number of series is what docs/metrics.md says, whatever the size', async () => {
  const page = read('docs/metrics.md');
  const section = page.slice(page.indexOf('## How many series'));
  const told = Object.entries(WORDS).map(([what, word]) => {
    const row = new RegExp(`^\\| ${word} \\| (\\d+) \\|`, 'm').exec(section);
    return [what, Number(row?.[1])];
  });
  const base = await series(SMALL);
  const sizes = Object.keys(SMALL) as (keyof Size)[];
  const found = new Map<string, number>();
  for (const one of sizes) {
    // A check needs a backend with checks, and that one a backend.
    const size = { ...SMALL, backends: 9, checked: one === 'checks' ? 1 : 3, checks: 9 };
    const more = { ...size, [one]: size[one] + 2 };
    found.set(one, ((await series(more)) - (await series(size))) / 2);
  }
  const fixed = base - [...found.values()].reduce((sum, count) => sum + count, 0);
  assert.deepEqual(Object.fromEntries(told), { fixed, ...Object.fromEntries(found) });
  const large: Size = { services: 40, pools: 7, backends: 300, checked: 120, checks: 130, threads: 4, files: 3, ingresses: 1 };
  const expected = sizes.reduce((sum, one) => sum + large[one] * (found.get(one) ?? Number.NaN), fixed);
  assert.equal(await series(large), expected);
});

test('the source of these tests has every kind of ICMP error that the director counts', () => {
  assert.deepEqual(Object.keys(richSource(SMALL).unreachable()[0].counts).sort(), [...UNREACHABLE_KINDS].sort());
});
