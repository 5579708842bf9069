// The word of an event is what alerts look for: docs/running.md lists them, and no others.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filesBelow, read } from './sources.ts';

const sources = filesBelow('src', '.ts').filter((file) => !file.endsWith('.test.ts'));

/** Words that are written where they are logged; `host-apply-failed` and the like come by a parameter. */
function wordsOf(text: string): string[] {
  const recorded = /\.record\(\s*'[a-z]+',\s*'([a-z-]+)'/g;
  const logged = /\bevent: '([a-z-]+)'/g;
  return [recorded, logged].flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1]));
}

function documented(): string[] {
  const page = read('docs/running.md');
  const table = page.slice(page.indexOf('| `event` | Level | When |'));
  const rows = table.slice(0, table.indexOf('\n\n')).split('\n').slice(2);
  return rows.flatMap((row) => [...row.split('|')[1].matchAll(/`([a-z-]+)`/g)].map((match) => match[1]));
}

test('every event that is logged is in docs/running.md, and every event there is in the source', () => {
  const words = new Set(sources.flatMap((file) => wordsOf(read(file))));
  assert.ok(words.has('link-mtu') && words.has('host'), 'the rule finds events');
  const known = new Set(documented());
  assert.deepEqual(
    [...words].filter((word) => !known.has(word)),
    [],
  );
  const everything = sources.map((file) => read(file)).join('\n');
  assert.deepEqual(
    [...known].filter((word) => !everything.includes(`'${word}'`)),
    [],
  );
});
