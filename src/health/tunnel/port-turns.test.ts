import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as settle } from 'node:timers/promises';
import type { Turn } from '../probe.ts';
import { PortTurns } from './port-turns.ts';

const PORTS = [5, 6, 7];
const never = new AbortController().signal;

test('each question to one service has a port of its own; other services have them all', async () => {
  const turns = new PortTurns();
  const own = await Promise.all(PORTS.map(() => turns.take('a', PORTS, never)));
  assert.deepEqual(own.map((turn) => turn?.port).sort(), PORTS);
  assert.ok(await turns.take('b', PORTS, never));
});

test('who waits is next, in the order of coming; who gave up is not', async () => {
  const turns = new PortTurns();
  const first = (await turns.take('a', [5], never)) as Turn;
  const got: string[] = [];
  const abort = new AbortController();
  const wait = async (name: string, signal = never) => {
    const turn = await turns.take('a', [5], signal);
    got.push(turn === null ? `${name} none` : `${name} ${turn.port}`);
    return turn;
  };
  const two = wait('two');
  const gone = wait('gone', abort.signal);
  const three = wait('three');
  await settle();
  assert.deepEqual(got, []);
  abort.abort();
  await gone;
  first.release();
  first.release();
  (await two)?.release();
  (await three)?.release();
  assert.deepEqual(got, ['gone none', 'two 5', 'three 5']);
  assert.ok(await turns.take('a', [5], never), 'all are given back');
  assert.equal(await turns.take('a', [5], AbortSignal.abort()), null);
});

test('close lets everybody go', async () => {
  const turns = new PortTurns();
  const first = await turns.take('a', [5], never);
  const waiting = turns.take('a', [5], never);
  turns.close();
  assert.equal(await waiting, null);
  first?.release();
});
