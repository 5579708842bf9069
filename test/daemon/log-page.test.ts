// docs/running.md lists the log's event words: page and program may not drift apart.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

const root = resolve(import.meta.dirname, '../..');

test('the events of docs/running.md are those that the daemon logs', () => {
  const page = readFileSync(join(root, 'docs/running.md'), 'utf8');
  const table = page.slice(page.indexOf('| `event` | Level |'), page.indexOf('There is never a line per packet'));
  const documented = table
    .split('\n')
    .flatMap((line) => [...(line.split('|')[1] ?? '').matchAll(/`([a-z]+(?:-[a-z]+)*)`/g)].map((match) => match[1]))
    .filter((word) => word !== 'event');
  const sources = readdirSync(join(root, 'src/daemon'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => readFileSync(join(root, 'src/daemon', file), 'utf8'))
    .join('\n');
  const logged = [
    ...sources.matchAll(/\brecord\(\s*'\w+',\s*([^,]+),|\bevent: ('[a-z-]+')|#failed\(error, ('[a-z-]+')/g),
  ].flatMap((match) => [...(match[1] ?? match[2] ?? match[3]).matchAll(/'([a-z-]+)'/g)].map((word) => word[1]));
  assert.deepEqual([...new Set(documented)].sort(), [...new Set(logged)].sort());
});
