import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { CodedError } from '../base/errors.ts';
import type { Action } from './actions.ts';
import { askAction } from './client.ts';
import { type AdminSource, openAdminServer } from './server.ts';
import { adminSocketPath, listenAtPath, runtimeDirectory } from './socket.ts';

const folder = mkdtempSync(join(tmpdir(), 'gue-director-socket-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const ACTIONS = new Map<string, Action>([
  ['/-/echo', (asked) => ({ status: 200, body: { asked } })],
  ['/-/refuse', async () => ({ status: 422, body: { message: 'not like this' } })],
  [
    '/-/fail',
    () => {
      throw new Error('a program error');
    },
  ],
]);
const failures: string[] = [];
const READ_ONLY = { version: '1', failed: (_: unknown, path: string) => failures.push(path) } as unknown as AdminSource;
const SOURCE: AdminSource = { ...READ_ONLY, actions: ACTIONS };

function post(path: string, url: string, text: string): Promise<{ status: number; body: string }> {
  return new Promise((done, fail) => {
    const asked = request({ socketPath: path, method: 'POST', path: url, agent: false }, (response) => {
      let body = '';
      response.on('data', (part) => {
        body += part;
      });
      response.on('end', () => done({ status: response.statusCode ?? 0, body }));
    });
    asked.on('error', fail);
    asked.end(text);
  });
}

test('the socket has mode 0660 whatever the umask, answers actions, and goes with its server', async () => {
  const path = join(folder, 'made/admin.sock');
  const before = process.umask(0);
  const server = await openAdminServer({ path }, SOURCE);
  process.umask(before);
  try {
    assert.equal(statSync(path).mode & 0o777, 0o660);
    assert.deepEqual(await askAction(path, '/-/echo', { a: [1] }), { status: 200, body: { asked: { a: [1] } } });
    assert.deepEqual(await askAction(path, '/-/refuse'), { status: 422, body: { message: 'not like this' } });
    assert.equal((await askAction(path, '/-/nothing')).status, 404);
    assert.equal((await post(path, '/-/echo', '')).status, 200);
    for (const text of ['{', '[1]', 'null', '7']) assert.equal((await post(path, '/-/echo', text)).status, 400, text);
    assert.equal((await post(path, '/-/echo', `{"a":"${'x'.repeat(70_000)}"}`)).status, 413);
    assert.equal((await post(path, '/-/fail', '')).status, 500);
    assert.deepEqual(failures, ['/-/fail']);
  } finally {
    await server.close();
  }
  assert.equal(existsSync(path), false);
});

test('TCP takes nothing that changes the director', async () => {
  const server = await openAdminServer({ host: '127.0.0.1', port: 0 }, READ_ONLY);
  try {
    const answer = await fetch(`http://127.0.0.1:${server.port}/-/echo`, { method: 'POST', body: '{}' });
    assert.equal(answer.status, 405);
  } finally {
    await server.close();
  }
});

test('a socket that nobody answers at is replaced; one that is in use, another file and a long path are refused', async () => {
  const path = join(folder, 'admin.sock');
  const first = createServer();
  await listenAtPath(first, path);
  await assert.rejects(listenAtPath(createServer(), path), (error: CodedError) => {
    assert.match(error.message, /another process listens there/);
    return error.code === 'GD_ADMIN_SOCKET' && error.hint.includes(path);
  });
  await new Promise((done) => first.close(done));
  // As a killed process leaves it: a bound name without a listener.
  const program = `process.getBuiltinModule('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', program]);
  assert.ok(existsSync(path));
  const second = createServer();
  await listenAtPath(second, path);
  await new Promise((done) => second.close(done));

  const file = join(folder, 'file');
  writeFileSync(file, 'mine');
  await assert.rejects(listenAtPath(createServer(), file), /a file of another kind/);
  await assert.rejects(listenAtPath(createServer(), join(folder, 'x'.repeat(120))), /at most 107 bytes/);
  await assert.rejects(listenAtPath(createServer(), '/proc/nowhere/admin.sock'), { code: 'GD_ADMIN_SOCKET', message: /ENOENT/ });
});

test('auto is in the runtime directory, which the service manager may name', () => {
  const before = process.env.RUNTIME_DIRECTORY;
  try {
    process.env.RUNTIME_DIRECTORY = '/run/a:/run/b';
    assert.deepEqual([runtimeDirectory(), adminSocketPath('auto')], ['/run/a', '/run/a/admin.sock']);
    delete process.env.RUNTIME_DIRECTORY;
    assert.deepEqual(
      [adminSocketPath('auto'), adminSocketPath('off'), adminSocketPath('/a')],
      ['/run/gue-director/admin.sock', null, '/a'],
    );
  } finally {
    if (before !== undefined) process.env.RUNTIME_DIRECTORY = before;
  }
});
