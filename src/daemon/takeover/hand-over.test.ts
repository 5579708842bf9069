// The old director's side of a takeover against successors of every kind: a good one, a different one, one that goes, one that fails behind the baton.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createBank, DROPS_AT } from '../../base/counters.ts';
import { CodedError } from '../../base/errors.ts';
import { EventJournal } from '../../observe/events.ts';
import { createLog } from '../../observe/log.ts';
import { EventDescriptor } from '../../raw-socket/event.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { connectUnix, listenUnix, socketPair } from '../../raw-socket/unix-socket.ts';
import { Channel } from './channel.ts';
import { restoreCounters, saveCounters } from './counters.ts';
import { type Giver, HandOver } from './hand-over.ts';
import { fromPlain, toPlain } from './plain.ts';

const FACTS = { threads: '1', 'ingress.driver': 'tun', 'ingress.device': 'gd0' };

interface Bench {
  readonly handOver: HandOver;
  readonly did: string[];
  readonly words: string[];
  readonly directory: string;
  /** A successor that has connected. */
  connect(): Channel;
}

function bench(t: TestContext, change: Partial<Giver> = {}): Bench {
  const directory = mkdtempSync(join(tmpdir(), 'gd-takeover-'));
  const channels: Channel[] = [];
  const lent = socketPair();
  t.after(() => lent.forEach(closeDescriptor));
  const did: string[] = [];
  const words: string[] = [];
  const giver: Giver = {
    facts: FACTS,
    lend: () => ({
      threads: 1,
      descriptors: [
        ['lock', lent[0]],
        ['queue 0', lent[1]],
      ],
    }),
    parts: () => ({ paths: [{ address: Uint8Array.of(192, 0, 2, 1), mtu: 1400 }] }),
    inForce: () => '7',
    quiet: async () => void did.push('quiet'),
    leave: async ([baton]) => {
      did.push('leave');
      EventDescriptor.over(baton).notify();
      closeDescriptor(baton);
      return { leftAt: [5] };
    },
    reclaim: () => did.push('reclaim'),
    resume: async () => void did.push('resume'),
    done: () => did.push('done'),
    ...change,
  };
  const log = createLog({ level: 'info', format: 'json', write: (line) => void words.push(line) });
  const handOver = new HandOver(giver, directory, new EventJournal(log));
  t.after(async () => {
    for (const channel of channels) channel.close();
    await handOver.settled();
    assert.deepEqual(readdirSync(directory), [], 'no socket is left');
    rmSync(directory, { recursive: true });
  });
  const connect = () => {
    const { status, body } = handOver.offer();
    assert.equal(status, 200, JSON.stringify(body));
    const channel = new Channel(connectUnix((body as { socket: string }).socket));
    channels.push(channel);
    return channel;
  };
  return { handOver, did, words, directory, connect };
}

const code = (expected: string) => (error: unknown) => error instanceof CodedError && error.code === expected;

test('a good successor gets everything in order, and the old one ends without resuming', async (t) => {
  const { handOver, did, connect } = bench(t);
  const channel = connect();
  assert.equal(handOver.offer().status, 409, 'one at a time');
  await channel.send('hello', { version: '2', facts: FACTS });
  const state = await channel.expect(['state'], 5000);
  assert.deepEqual(state.body.roles, ['lock', 'queue 0', 'baton 0']);
  assert.deepEqual(fromPlain(state.body.parts), { paths: [{ address: Uint8Array.of(192, 0, 2, 1), mtu: 1400 }] });
  assert.equal(state.descriptors.length, 3);
  assert.deepEqual(did, []);
  const baton = EventDescriptor.over(state.descriptors[2]);
  assert.equal(baton.clear(), false);
  await channel.send('poised');
  const left = await channel.expect(['left'], 5000);
  assert.deepEqual(left.body.leftAt, [5]);
  assert.equal(baton.clear(), true, 'the queue is ours');
  assert.deepEqual(did, ['quiet', 'leave']);
  assert.equal(handOver.successor, null);
  await channel.send('ready', { gaps: [0.1] });
  await handOver.settled();
  assert.equal(handOver.successor, process.pid);
  await sleep(150);
  assert.deepEqual(did, ['quiet', 'leave', 'done']);
  assert.equal(handOver.failures, 0);
  state.descriptors.forEach(closeDescriptor);
});

test('before the baton, whatever goes wrong is put back, and the next one may try', async (t) => {
  const { handOver, did, words, connect } = bench(t);
  const silent = connect();
  silent.close();
  await handOver.settled();

  const other = connect();
  await other.send('hello', { version: '2', facts: { ...FACTS, threads: '2' } });
  await assert.rejects(other.expect(['state'], 5000), /threads is 1 in the running director and 2 in the new configuration/);
  await handOver.settled();

  const quitter = connect();
  await quitter.send('hello', { version: '2', facts: FACTS });
  (await quitter.expect(['state'], 5000)).descriptors.forEach(closeDescriptor);
  await quitter.send('refuse', { message: 'the egress can not be opened', hint: '', exitCode: 1 });
  await sleep(20);
  assert.deepEqual(did, [], 'it may still write');
  quitter.close();
  await handOver.settled();
  assert.deepEqual(did.splice(0), ['reclaim']);
  assert.match(words.join(''), /the egress can not be opened/);

  const confused = connect();
  await confused.send('poised');
  await assert.rejects(confused.expect(['state'], 5000), code('GD_TAKEOVER_REFUSED'));
  await handOver.settled();
  assert.deepEqual(did, []);
  assert.deepEqual([handOver.successor, handOver.failures], [null, 4]);
});

test('what changed while the successor prepared itself is not lost: it is refused', async (t) => {
  let generation = 7;
  const { handOver, did, connect } = bench(t, { inForce: () => String(generation) });
  const channel = connect();
  await channel.send('hello', { version: '2', facts: FACTS });
  (await channel.expect(['state'], 5000)).descriptors.forEach(closeDescriptor);
  generation++;
  await channel.send('poised');
  await assert.rejects(channel.expect(['left'], 5000), /what is in force changed/);
  assert.deepEqual(did, []);
  channel.close();
  await handOver.settled();
  assert.deepEqual(did, ['reclaim']);
});

test('behind the baton: a successor that goes, or says that it can not, makes the old threads read again', async (t) => {
  for (const goes of [true, false]) {
    const { handOver, did, connect } = bench(t);
    const channel = connect();
    await channel.send('hello', { version: '2', facts: FACTS });
    (await channel.expect(['state'], 5000)).descriptors.forEach(closeDescriptor);
    await channel.send('poised');
    await channel.expect(['left'], 5000);
    if (!goes) await channel.send('refuse', { message: 'the port is taken' });
    channel.close();
    await handOver.settled();
    assert.deepEqual(did, ['quiet', 'leave', 'reclaim', 'resume']);
    assert.equal(handOver.successor, null);
  }
});

test('a thread that does not leave: the successor is told, and the old threads go on', async (t) => {
  const stuck = new CodedError('GD_DAEMON_STUCK', 'a forwarding thread did not hand its queue over in time');
  const { handOver, did, connect } = bench(t, {
    leave: (batons) => {
      batons.forEach(closeDescriptor);
      return Promise.reject(stuck);
    },
  });
  const channel = connect();
  await channel.send('hello', { version: '2', facts: FACTS });
  (await channel.expect(['state'], 5000)).descriptors.forEach(closeDescriptor);
  await channel.send('poised');
  await assert.rejects(channel.expect(['left'], 5000), /did not hand its queue over/);
  assert.deepEqual(did, ['quiet'], 'it waits until the successor is gone');
  channel.close();
  await handOver.settled();
  assert.deepEqual(did, ['quiet', 'reclaim', 'resume']);
});

test('hand-overs that come to nothing leave no descriptor and no socket; what a killed director left is removed', async (t) => {
  const { handOver, did, directory, connect } = bench(t);
  const [dead, living] = ['takeover-00.sock', 'takeover-11.sock'].map((name) => join(directory, name));
  const listeners = [dead, living].map(listenUnix);
  closeDescriptor(listeners[0]);
  utimesSync(dead, new Date(0), new Date(0));
  const attempt = async (poised: boolean) => {
    const channel = connect();
    await channel.send('hello', { version: '2', facts: FACTS });
    (await channel.expect(['state'], 5000)).descriptors.forEach(closeDescriptor);
    if (poised) {
      await channel.send('poised');
      await channel.expect(['left'], 5000);
    }
    channel.close();
    await handOver.settled();
  };
  await attempt(true);
  assert.ok(!existsSync(dead));
  assert.ok(existsSync(living), 'somebody may listen');
  const before = readdirSync('/proc/self/fd').length;
  for (const poised of [true, false, true, false]) await attempt(poised);
  // Fewer when one of the first attempt was closed only now.
  const after = readdirSync('/proc/self/fd').length;
  assert.ok(after <= before, `${before}, then ${after} descriptors`);
  assert.equal(did.filter((word) => word === 'reclaim').length, 5);
  closeDescriptor(listeners[1]);
  rmSync(living);
});

test('a director that can not hand over says why', (t) => {
  const { handOver } = bench(t, {
    lend: () => {
      throw new CodedError('GD_TAKEOVER_NOT_NOW', 'not every thread reads', { hint: 'wait' });
    },
  });
  assert.deepEqual(handOver.offer(), {
    status: 409,
    body: { code: 'GD_TAKEOVER_NOT_NOW', message: 'not every thread reads', hint: 'wait', exitCode: 1 },
  });
});

test('counters and plain values come out as they went in', () => {
  const [one, two] = [createBank(), createBank()];
  one[0] = 5;
  two[0] = 2 ** 40;
  one[DROPS_AT + 3] = 7;
  two[two.length - 2] = 9;
  two[two.length - 1] = 900;
  const saved = saveCounters([one, two]);
  const again = restoreCounters(JSON.parse(JSON.stringify(saved)));
  assert.deepEqual([again[0], again[DROPS_AT + 3], again[again.length - 2], again[again.length - 1]], [2 ** 40 + 5, 7, 9, 900]);
  assert.deepEqual(saveCounters([again]), saved);
  const value = { a: new Map([['k', { b: Uint8Array.of(1, 255), c: [null, 1.5, 'x', true] }]]), d: {} };
  assert.deepEqual(fromPlain(JSON.parse(JSON.stringify(toPlain(value)))), value);
});
