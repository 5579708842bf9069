// docs/host.md explains every finding, and no others.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

const root = resolve(import.meta.dirname, '../..');

test('docs/host.md has a section for each finding that src/host can report', () => {
  const folder = join(root, 'src/host');
  const sources = readdirSync(folder).filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'));
  const ids = sources.flatMap((name) =>
    [...readFileSync(join(folder, name), 'utf8').matchAll(/\bid: '([a-z0-9-]+)'/g)].map((match) => match[1]),
  );
  const checks = readFileSync(join(root, 'docs/host.md'), 'utf8');
  const sections = [...checks.matchAll(/^### ([a-z0-9-]+)$/gm)].map((match) => match[1]);
  assert.deepEqual([...sections].sort(), [...new Set(ids)].sort());
});
