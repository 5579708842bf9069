import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { NotifyReceiver } from '../../test/daemon/notify-receiver.ts';
import { NotifySocket } from './notify.ts';
import { unixAddress } from './unix-address.ts';

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-notify-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test('messages arrive whole at a path and at an abstract name', (t) => {
  for (const path of [join(folderOf(t), 'notify'), `@gue-director-notify-${process.pid}`]) {
    const receiver = new NotifyReceiver(path);
    t.after(() => receiver.close());
    const socket = new NotifySocket(path);
    t.after(() => socket.close());
    assert.equal(socket.send('READY=1'), true);
    assert.equal(socket.send('STATUS=forwarding: größer\nX=1'), true);
    assert.deepEqual(receiver.heard(), ['READY=1', 'STATUS=forwarding: größer\nX=1']);
  }
});

test('a receiver that does not read is not waited for, and one that is gone is an error with the path', (t) => {
  const path = join(folderOf(t), 'notify');
  const receiver = new NotifyReceiver(path);
  const socket = new NotifySocket(path);
  t.after(() => socket.close());
  let sent = 0;
  while (sent < 10_000 && socket.send('WATCHDOG=1')) sent++;
  assert.ok(sent > 0 && sent < 10_000, String(sent));
  assert.equal(receiver.heard().length, sent);
  assert.equal(socket.send('again'), true);
  receiver.close();
  assert.throws(
    () => socket.send('READY=1'),
    (error: Error) => error.message.includes(path),
  );
});

test('the bytes of an address: a file ends with a zero, an abstract name begins with one', () => {
  assert.deepEqual([...unixAddress('/ab')], [1, 0, 0x2f, 0x61, 0x62, 0]);
  assert.deepEqual([...unixAddress('@ab')], [1, 0, 0, 0x61, 0x62]);
  assert.equal(unixAddress(`/${'a'.repeat(106)}`).length, 110);
  for (const path of ['', `/${'a'.repeat(107)}`]) assert.throws(() => unixAddress(path), /can not name a unix socket/);
});
