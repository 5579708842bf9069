import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bootId, type DrainState, NO_DRAINS, parseDrainState, readDrainFile, writeDrainFile } from './drain-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'gue-director-drains-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'drains.json');

const STATE: DrainState = {
  director: { since: 5, stopAt: 1000.5 },
  backends: [
    { pool: 'web', backend: 'w1', cause: 'command', since: 1, deadline: null },
    { pool: 'web', backend: 'w2', cause: 'configuration', since: 2.5, deadline: 60_000 },
  ],
};

test('what was written is read again; nothing to remember leaves no file', () => {
  assert.match(bootId(), /^[0-9a-f-]{36}$/);
  writeDrainFile(path, 'boot-1', STATE);
  assert.equal(statSync(path).mode & 0o137, 0);
  assert.deepEqual(readDrainFile(path, 'boot-1'), { state: STATE, ignored: null });
  assert.deepEqual(readdirSync(folder), ['drains.json'], 'nothing beside it');
  writeDrainFile(path, 'boot-1', NO_DRAINS);
  assert.equal(existsSync(path), false);
  assert.deepEqual(readDrainFile(path, 'boot-1'), { state: NO_DRAINS, ignored: null });
});

test('what does not fit is ignored, with the reason', () => {
  writeDrainFile(path, 'boot-1', STATE);
  const text = readFileSync(path, 'utf8');
  const said = (content: string) => {
    writeFileSync(path, content);
    const { state, ignored } = readDrainFile(path, 'boot-1');
    assert.deepEqual(state, NO_DRAINS);
    return String(ignored).replace(`${path}: `, '');
  };
  assert.equal(said(text.replace('boot-1', 'boot-0')), 'it is from before the last reboot');
  assert.equal(said(text.replace('"version":1', '"version":2')), 'its version is 2, not 1');
  assert.match(said(text.slice(0, -20)), /^it is no JSON/);
  assert.equal(said('null'), 'its version is undefined, not 1');
  for (const [from, to] of [
    ['"w1"', '7'],
    ['"command"', '"whim"'],
    ['"since":1,', '"since":"1",'],
    ['"since":5', '"since":-5'],
    ['60000', '"soon"'],
  ] as const) {
    assert.ok(text.includes(from), from);
    assert.equal(said(text.replace(from, to)), 'it is damaged', `${from} → ${to}`);
  }
  assert.match(said('x'.repeat((4 << 20) + 1)), /are no list of drains/);
  rmSync(path);
  assert.match(String(readDrainFile(folder, 'boot-1').ignored), /EISDIR/);
});

test('a state that is handed over is checked alike', () => {
  assert.deepEqual(parseDrainState(JSON.parse(JSON.stringify(STATE))), STATE);
  for (const wrong of [null, undefined, 7, {}, { backends: {} }, { backends: [null] }, { backends: [], director: {} }]) {
    assert.equal(parseDrainState(wrong), null, JSON.stringify(wrong));
  }
});
