// Every line that is shown at full size has a twin in the suite that shows it small.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LINES } from '../full/lines.ts';
import { read, root } from './sources.ts';

test('every line has its scaled twin', () => {
  for (const line of LINES) {
    assert.ok(existsSync(join(root, line.twin)), `${line.name}: ${line.twin} is missing`);
    if (line.repeatsTwin) continue;
    const text = read(line.twin);
    const named = text.includes(`./${line.name}.ts`) || text.includes(`test:full -- ${line.name}`);
    assert.ok(named, `${line.twin} does not say that it is the twin of "npm run test:full -- ${line.name}"`);
  }
});

test('names and claims are there, each name once', () => {
  assert.equal(new Set(LINES.map((line) => line.name)).size, LINES.length);
  for (const line of LINES) assert.match(line.claim, /^[A-Z].{40,}\.$/s, line.name);
});
