// Formatting, lint and types are part of the suite, so that `npm test` alone says whether a change is good.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from './sources.ts';

function runTool(name: string, ...args: string[]): void {
  const result = spawnSync(process.execPath, [join(root, 'node_modules', name), ...args], { cwd: root, encoding: 'utf8' });
  assert.equal(result.status, 0, `${name} ${args.join(' ')}\n${result.stdout}${result.stderr}`);
}

test('biome has nothing to say', () => {
  runTool('@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.');
});

// What tsc wrote down last stays in node_modules/.cache: after `npm run typecheck` (.ci/run) only what has changed since is looked at.
test('the types hold', () => {
  runTool('typescript/bin/tsc', '-p', 'tsconfig.json');
});

test('the types of the status page hold: its script runs in a browser, not in Node', () => {
  runTool('typescript/bin/tsc', '-p', 'tsconfig.page.json');
});
