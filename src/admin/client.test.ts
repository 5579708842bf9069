import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { askAction } from './client.ts';

test('a director that is there and has not answered yet is not one that is not there', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gd-client-'));
  const socket = join(folder, 'admin.sock');
  const server = createServer(() => {});
  t.after(() => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  });
  await assert.rejects(askAction(socket, '/-/reload', {}, 100), {
    code: 'GD_ADMIN_UNREACHABLE',
    exitCode: 69,
    message: /ENOENT/,
  });
  await new Promise<void>((done) => server.listen(socket, done));
  await assert.rejects(askAction(socket, '/-/reload', {}, 100), {
    code: 'GD_ADMIN_NO_ANSWER',
    exitCode: 1,
    message: /has not answered within 0\.1 s; it may be at it still/,
    hint: /gue-director status/,
  });
  const words: number[] = [];
  await assert.rejects(askAction(socket, '/-/reload', {}, 2300, (milliseconds) => words.push(milliseconds)));
  assert.equal(words.length, 1);
  assert.ok(words[0] >= 1900, String(words));
});
