import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { COMMANDS } from './kernel-worker.ts';

test('docs/workers.md has the commands that the kernel of the line interop was set up with', () => {
  const page = readFileSync(resolve(import.meta.dirname, '../../docs/workers.md'), 'utf8');
  // The page says once that `ip -6 fou` takes the same words.
  const missing = COMMANDS.filter((command) => !page.includes(command.replace('ip -6 fou add port 608', 'ip fou add port 608')));
  assert.deepEqual(missing, []);
  assert.equal(COMMANDS.length, 12, COMMANDS.join('\n'));
});
