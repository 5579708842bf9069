import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { closeDescriptor } from '../raw-socket/file.ts';
import { listenUnix } from '../raw-socket/unix-socket.ts';
import { listDeadSockets } from './owned-files.ts';

test('a socket is removed when nobody listens at it, and nothing else is', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gd-left-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const at = (name: string) => join(folder, name);
  writeFileSync(at('file'), '');
  const [dead, living] = ['dead', 'living'].map((name) => listenUnix(at(name)));
  closeDescriptor(dead);
  const left = listDeadSockets({ locked: '', paths: [], sockets: ['file', 'dead', 'living', 'none'].map(at) });
  assert.deepEqual(
    left.map(({ kind, text, command }) => [kind, text, command]),
    [['socket', at('dead'), `rm ${at('dead')}`]],
  );
  left[0].remove();
  assert.ok(!existsSync(at('dead')));
  closeDescriptor(living);
});
