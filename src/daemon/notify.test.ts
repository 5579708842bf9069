import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { NotifyReceiver } from '../../test/daemon/notify-receiver.ts';
import type { Condition } from '../admin/server.ts';
import { EventJournal } from '../observe/events.ts';
import { createLog } from '../observe/log.ts';
import { ServiceManager, successorEnvironment } from './notify.ts';
import { Watchdog } from './watchdog.ts';

let names = 0;

function receive(t: TestContext): NotifyReceiver {
  const receiver = new NotifyReceiver(`@gue-director-manager-${process.pid}-${names++}`);
  t.after(() => receiver.close());
  return receiver;
}

test('a start, a reload, an upgrade and a stop as sd_notify(3) has them', (t) => {
  const receiver = receive(t);
  const manager = new ServiceManager({ NOTIFY_SOCKET: receiver.path });
  t.after(() => manager.close());
  manager.ready();
  manager.status('forwarding');
  manager.status('forwarding');
  manager.reloading();
  manager.ready();
  manager.stopping();
  manager.mainProcess(4711);
  manager.stopping();
  const heard = receiver.heard();
  assert.deepEqual(
    heard.map((message) => message.split('\n')[0]),
    ['READY=1', 'STATUS=forwarding', 'RELOADING=1', 'READY=1', 'STOPPING=1', 'MAINPID=4711'],
  );
  const [, microseconds] = /MONOTONIC_USEC=(\d+)$/.exec(heard[2]) ?? [];
  const age = Number(process.hrtime.bigint() / 1000n) - Number(microseconds);
  assert.ok(age >= 0 && age < 10_000_000, `${age} µs ago`);
});

test('without a service manager nothing happens; with one that is gone, one error for all', () => {
  const alone = new ServiceManager({});
  assert.equal(alone.present, false);
  alone.ready();
  const manager = new ServiceManager({ NOTIFY_SOCKET: `@gue-director-nobody-${process.pid}` });
  const errors: unknown[] = [];
  manager.onFailure = (error) => errors.push(error);
  manager.ready();
  manager.stopping();
  assert.equal(errors.length, 1);
});

test('what found the queue full arrives later, in order', async (t) => {
  const receiver = receive(t);
  const manager = new ServiceManager({ NOTIFY_SOCKET: receiver.path });
  t.after(() => manager.close());
  for (let i = 0; i < 60; i++) manager.status(String(i));
  for (let left = 100; receiver.heard().length < 60 && left > 0; left--) await delay(50);
  assert.deepEqual(
    receiver.heard(),
    Array.from({ length: 60 }, (_, i) => `STATUS=${i}`),
  );
});

test('the watchdog is meant for the process that it names', () => {
  const environment = { NOTIFY_SOCKET: '@x', WATCHDOG_USEC: '15000000' };
  assert.equal(new ServiceManager(environment).watchdog, 15_000);
  assert.equal(new ServiceManager({ ...environment, WATCHDOG_PID: '17' }, 17).watchdog, 15_000);
  assert.equal(new ServiceManager({ ...environment, WATCHDOG_PID: '18' }, 17).watchdog, null);
  assert.equal(new ServiceManager(successorEnvironment({ ...environment, WATCHDOG_PID: '18' }), 17).watchdog, 15_000);
  assert.equal(new ServiceManager({ ...environment, WATCHDOG_USEC: 'soon' }).watchdog, null);
  assert.equal(new ServiceManager({ WATCHDOG_USEC: '15000000' }).watchdog, null);
});

test('it is fed while every thread is alive, and one silent thread starves it', (t) => {
  const receiver = receive(t);
  const manager = new ServiceManager({ NOTIFY_SOCKET: receiver.path, WATCHDOG_USEC: '1000000' });
  t.after(() => manager.close());
  const journal = new EventJournal(createLog({ level: 'silent', format: 'json' }));
  let condition: Condition = { ok: true, reasons: [] };
  const watchdog = new Watchdog({
    manager,
    journal,
    healthy: () => condition,
    ready: () => condition,
    activity: () => 'forwarding: 1 services',
  });
  watchdog.feed();
  watchdog.look();
  condition = { ok: false, reasons: ['thread 1 is silent'] };
  watchdog.feed();
  watchdog.feed();
  watchdog.look();
  condition = { ok: true, reasons: [] };
  watchdog.feed();
  assert.deepEqual(receiver.heard(), [
    'WATCHDOG=1',
    'STATUS=forwarding: 1 services',
    'STATUS=not ready: thread 1 is silent',
    'WATCHDOG=1',
  ]);
  assert.deepEqual(
    journal.since().map(({ kind, text }) => [kind, text]),
    [['watchdog-starved', "the service manager's watchdog is not fed: thread 1 is silent"]],
  );
});
