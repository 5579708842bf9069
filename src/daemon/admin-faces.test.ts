// Given up and had again: real servers on loopback and in a folder of the test's own.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Action } from '../admin/actions.ts';
import { askAction } from '../admin/client.ts';
import type { AdminSource } from '../admin/server.ts';
import { EventJournal } from '../observe/events.ts';
import { createLog } from '../observe/log.ts';
import { AdminFaces } from './admin-faces.ts';

test('who asked before the hand-over gets the answer behind it; a port that is taken meanwhile is tried until it is free', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gd-faces-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  await new Promise((done) => probe.close(done));
  const log = createLog({ level: 'silent', format: 'json', write: () => {} });
  const journal = new EventJournal(log);
  let answer: () => void = () => {};
  const slow = new Promise<void>((done) => {
    answer = done;
  });
  const source = {
    actions: new Map<string, Action>([
      ['/-/upgrade', async () => slow.then(() => ({ status: 409, body: { message: 'the reason' } }))],
      ['/-/quick', () => ({ status: 200, body: {} })],
    ]),
  } as unknown as Required<AdminSource>;
  const path = join(folder, 'admin.sock');
  const faces = new AdminFaces({ metrics: { host: '127.0.0.1', port }, socket: path, source, log, journal });
  await faces.openMetrics();
  await faces.openSocket();
  assert.equal(faces.url, `http://127.0.0.1:${port}/`);
  const asked = askAction(path, '/-/upgrade');
  await sleep(50);
  await faces.quiet();
  await assert.rejects(askAction(path, '/-/quick'), /no director answers/);
  const thief = createServer().listen(port, '127.0.0.1');
  await once(thief, 'listening');
  await faces.resume();
  assert.match(faces.reasons().join(), /can not listen on 127\.0\.0\.1/);
  assert.equal((await askAction(path, '/-/quick')).status, 200, 'the socket does not wait for the port');
  answer();
  assert.deepEqual(await asked, { status: 409, body: { message: 'the reason' } });
  await new Promise((done) => thief.close(done));
  for (let i = 0; i < 100 && faces.reasons().length > 0; i++) await sleep(50);
  assert.deepEqual(faces.reasons(), []);
  assert.deepEqual(
    journal.since().map(({ kind }) => kind),
    ['admin-lost', 'admin-back'],
  );
  await faces.close();
  await assert.rejects(askAction(path, '/-/quick'), /no director answers/);
});
