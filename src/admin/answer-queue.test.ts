import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { AnswerQueue } from './answer-queue.ts';

/** What keeps the thread busy for so many milliseconds. */
function busy(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

test('connections take turns; what throws is thrown to who asked', async () => {
  const queue = new AnswerQueue();
  const [one, other] = [new Socket(), new Socket()];
  const order: string[] = [];
  const ask = (socket: Socket, name: string) =>
    queue.take(socket, async () => {
      order.push(name);
      if (name === 'a3') throw new Error('no answer');
      return name;
    });
  const asked = [ask(one, 'a1'), ask(one, 'a2'), ask(one, 'a3'), ask(other, 'b1')];
  await assert.rejects(asked[2], /no answer/);
  assert.deepEqual(await Promise.all([asked[0], asked[1], asked[3]]), ['a1', 'a2', 'b1']);
  assert.deepEqual(order, ['a1', 'a2', 'b1', 'a3']);
});

test('timers fire between long answers, and half of the time is theirs', async () => {
  const queue = new AnswerQueue();
  const socket = new Socket();
  let fired = 0;
  const timer = setInterval(() => fired++, 1);
  const began = performance.now();
  await Promise.all(Array.from({ length: 10 }, () => queue.take(socket, async () => busy(10))));
  const took = performance.now() - began;
  clearInterval(timer);
  assert.ok(fired >= 10, `${fired} times in ${took} ms`);
  assert.ok(took >= 185, `${took} ms for 100 ms of work`);
});

test('many questions at once are refused, and for a client that has gone nothing is made', async () => {
  const queue = new AnswerQueue();
  const socket = new Socket();
  let made = 0;
  const asked = Array.from({ length: 40 }, () =>
    queue.take(socket, async () => {
      // However fast: while the third is made nobody waits any more.
      if (++made === 3) socket.destroy();
      return made;
    }),
  );
  const answers = await Promise.all(asked);
  assert.equal(answers.filter((answer) => answer === 'refused').length, 40 - 17);
  assert.ok(made >= 1 && made < 17, `${made} were made`);
  assert.equal(answers.filter((answer) => answer === null).length, 17 - made);
});
