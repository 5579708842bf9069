// Every finding of the doctor belongs to an area, and is explained: its own in docs/doctor.md, those that `run` makes too in docs/host.md.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DIRECTOR_AREAS } from '../../src/doctor/director-areas.ts';
import { WORKER_AREAS } from '../../src/doctor/worker/areas.ts';
import { filesBelow, read } from '../rules/sources.ts';

function idsIn(folder: string): string[] {
  const sources = filesBelow(folder, '.ts').filter((file) => !file.endsWith('.test.ts') && !file.endsWith('areas.ts'));
  const ids = sources.flatMap((file) => [...read(file).matchAll(/\bid: '([a-z0-9-]+)'/g)].map((match) => match[1]));
  return [...new Set(ids)].sort();
}

const page = read('docs/doctor.md');
const sections = [...page.matchAll(/^### ([a-z0-9-]+)$/gm)].map((match) => match[1]);
const areas = [...DIRECTOR_AREAS, ...WORKER_AREAS];

test('each finding of the source belongs to one area, and each that an area names is in the source', () => {
  const ofHost = idsIn('src/host');
  const own = idsIn('src/doctor');
  const named = areas.flatMap(({ ids }) => ids);
  assert.equal(new Set(named).size, named.length, 'each once');
  assert.deepEqual(named.toSorted(), [...new Set([...ofHost, ...own])].sort());
});

test('docs/doctor.md has a section for each finding that is not one of docs/host.md', () => {
  const ofHost = new Set(idsIn('src/host'));
  const own = idsIn('src/doctor').filter((id) => !ofHost.has(id));
  assert.deepEqual(sections.toSorted(), own);
});

test('docs/doctor.md has a row for each area, which links to all that can be found there', () => {
  const rows = page.split('\n').filter((line) => line.startsWith('| `'));
  for (const { id, ids } of areas) {
    const row = rows.find((line) => line.startsWith(`| \`${id}\` |`) && ids.every((one) => line.includes(`[${one}](`)));
    assert.ok(row !== undefined, `no row of the area ${id} with ${ids.join(', ')}`);
    for (const one of ids) {
      const anchor = sections.includes(one) ? `[${one}](#${one})` : `[${one}](host.md#${one})`;
      assert.ok(row.includes(anchor), `${id}: ${anchor}`);
    }
  }
});
