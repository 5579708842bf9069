import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LineStream } from '../admin/trace-stream.ts';
import { ManualClock } from '../base/clock.ts';
import { EventJournal } from '../observe/events.ts';
import { createLog } from '../observe/log.ts';
import type { SnapshotParts } from '../pipeline/snapshot.ts';
import { AT_TIME } from '../trace/record.ts';
import { RingWriter } from '../trace/ring.ts';
import type { TraceOrder } from '../trace/tap.ts';
import type { TraceLine } from '../trace/told.ts';
import type { MailToThread } from './thread-protocol.ts';
import { TraceKeeper } from './trace-keeper.ts';

class Stream implements LineStream {
  readonly lines: TraceLine[] = [];
  backlog = 0;
  ended = false;
  #gone: () => void = () => {};

  write(line: object): void {
    this.lines.push(line as TraceLine);
  }

  end(): void {
    this.ended = true;
  }

  closed(gone: () => void): void {
    this.#gone = gone;
  }

  leave(): void {
    this.#gone();
  }

  get last(): Extract<TraceLine, { kind: 'ended' }> {
    return this.lines.at(-1) as Extract<TraceLine, { kind: 'ended' }>;
  }
}

function stage(threads = 2) {
  const clock = new ManualClock(100);
  const broken = { seat: -1 };
  const orders: (TraceOrder | null)[][] = Array.from({ length: threads }, () => []);
  const seats = orders.map((own, number) => ({
    number,
    beganAt: 1,
    failures: 0,
    traceFailure: '',
    post: (mail: MailToThread) => {
      structuredClone(mail);
      if (number === broken.seat && mail.kind === 'trace' && mail.order !== null) throw new RangeError('no room for an order');
      if (mail.kind === 'trace') own.push(mail.order);
    },
  }));
  const names = { services: [{ id: 0, name: 'web', pool: 'p' }], pools: [], backends: [] };
  const current = { generation: 1, names } as unknown as SnapshotParts;
  const journal = new EventJournal(createLog({ level: 'silent', format: 'json' }));
  const keeper = new TraceKeeper({
    clock: { seconds: () => clock.seconds(), milliseconds: () => clock.seconds() * 1000 },
    journal,
    publisher: { current },
    seats: () => seats,
  });
  const ask = async (request: Record<string, unknown>) => {
    const stream = new Stream();
    const answer = await keeper.action(request);
    answer.stream?.(stream);
    return { ...answer, stream };
  };
  return { clock, keeper, orders, seats, ask, broken, journal };
}

test('one trace at a time; every thread is told when it begins and when it ends, however that is', async () => {
  const { keeper, orders, ask, clock } = stage();
  const { status, stream } = await ask({ filter: 'service web', seconds: 5 });
  assert.equal(status, 200);
  assert.deepEqual(stream.lines[0], {
    kind: 'started',
    filter: 'service web',
    count: 1000,
    seconds: 5,
    rate: 1000,
    snap: 0,
    threads: 2,
  });
  assert.deepEqual(
    orders.map((own) => own.map((order) => order?.until)),
    [[106], [106]],
  );
  assert.equal((await ask({ filter: 'udp' })).status, 409);
  stream.leave();
  assert.equal(stream.last.why, 'client');
  assert.deepEqual(
    orders.map((own) => own.at(-1)),
    [null, null],
  );

  const second = await ask({ filter: '', seconds: 5 });
  clock.set(105);
  await sleep(60);
  assert.deepEqual([second.stream.last.why, second.stream.ended], ['seconds', true]);

  const third = await ask({});
  keeper.end('hand-over');
  assert.equal(third.stream.last.why, 'hand-over');

  const fourth = await ask({});
  assert.deepEqual((await ask({ end: true })).body, { ended: true });
  assert.equal(fourth.stream.last.why, 'client');
  assert.deepEqual((await ask({ end: true })).body, { ended: false });
});

test('a thread that is replaced gets its order anew, once; a second one ends the trace', async () => {
  const { seats, orders, ask } = stage();
  const { stream } = await ask({});
  seats[1].beganAt = 2;
  await sleep(60);
  assert.deepEqual([orders[0].length, orders[1].length], [1, 2]);
  assert.equal(orders[1][0]?.ring, orders[1][1]?.ring);
  assert.ok(stream.lines.some((line) => line.kind === 'note' && /thread 1 was replaced/.test(line.text)));
  seats[0].beganAt = 2;
  await sleep(60);
  assert.equal(stream.last.why, 'threads');
});

test('a trace that can not begin, or that a thread can not follow, ends with a word; the next one may', async () => {
  const { ask, broken, orders, seats, journal, clock } = stage();
  broken.seat = 1;
  const failed = await ask({ filter: 'host 192.0.2.7' });
  assert.deepEqual([failed.status, failed.stream.last.why, failed.stream.ended], [200, 'error', true]);
  assert.equal(orders[0].at(-1), null);
  broken.seat = -1;

  const refused = await ask({});
  seats[0].traceFailure = 'SyntaxError: Unexpected identifier';
  await sleep(60);
  assert.deepEqual([refused.stream.last.why, orders[1].at(-1)], ['error', null]);
  seats[0].traceFailure = '';

  // A thread that fails right behind its order: whoever comes after it does not get it.
  const behind = await ask({ filter: 'host 192.0.2.7' });
  seats[1].failures++;
  await sleep(60);
  seats[1].beganAt = 2;
  await sleep(60);
  assert.deepEqual([behind.stream.last.why, orders[1].filter((order) => order !== null).length], ['threads', 2]);

  const later = await ask({});
  clock.set(101);
  seats[1].failures++;
  seats[1].beganAt = 3;
  await sleep(60);
  assert.ok(later.stream.lines.some((line) => line.kind === 'note' && /thread 1 was replaced/.test(line.text)));
  later.stream.leave();

  const kinds = journal.since().map(({ kind }) => kind);
  assert.equal(kinds.filter((kind) => kind === 'trace-failed').length, 2);
  assert.doesNotMatch(JSON.stringify(journal.since()), /192\.0\.2\.7/, 'events are told over HTTP');
});

test('a client that reads nothing leaves records in the ring', async () => {
  const { orders, ask, keeper } = stage(1);
  const { stream } = await ask({});
  stream.backlog = 8 * 1024 * 1024;
  const writer = new RingWriter(orders[0][0]?.ring as SharedArrayBuffer);
  const at = writer.reserve(64);
  for (let k = 4; k < 64; k += 4) writer.view.setInt32(at + k, 0, true);
  writer.commit(at, 64);
  await sleep(60);
  assert.ok(stream.lines.every(({ kind }) => kind !== 'packet'));
  stream.backlog = 0;
  await sleep(60);
  assert.equal(stream.lines.filter(({ kind }) => kind === 'packet').length, 1);
  keeper.end('stop');
});

test('the rate of all threads together holds where their seconds come one behind the other', async () => {
  const { orders, ask, keeper } = stage(2);
  const { stream } = await ask({ rate: 5 });
  // Ten packets of thread 0 in this second and the next, then ten of thread 1 in this one: its ring is read behind.
  for (const [thread, seconds] of [
    [0, [7000, 8000]],
    [1, [7000, 8000]],
  ] as const) {
    const writer = new RingWriter(orders[thread][0]?.ring as SharedArrayBuffer);
    for (const time of seconds) {
      for (let k = 0; k < 5; k++) {
        const at = writer.reserve(64);
        for (let word = 4; word < 64; word += 4) writer.view.setInt32(at + word, 0, true);
        writer.view.setFloat64(at + AT_TIME, time, true);
        writer.commit(at, 64);
      }
    }
  }
  await sleep(60);
  keeper.end('stop');
  assert.deepEqual([stream.last.told, stream.last.overRate], [10, 10]);
});

test('what is beyond the bounds, or names nobody, is refused with what to do', async () => {
  const { ask } = stage(1);
  const wrong: readonly [Record<string, unknown>, RegExp][] = [
    [{ rate: 10_001 }, /rate is a whole number from 1 to 10000/],
    [{ snap: 20 }, /snap is a whole number from 64/],
    [{ count: 1.5 }, /count is a whole number/],
    [{ seconds: '5' }, /seconds is a whole number/],
    [{ filter: 5 }, /filter is a text/],
    [{ filtre: 'udp' }, /unknown word "filtre"/],
    [{ filter: 'service wep' }, /no service is named "wep"/],
    [{ filter: 'backend p/w' }, /no backend is named "p\/w"/],
    [{ filter: 'tcp or' }, /column 7/],
  ];
  for (const [request, message] of wrong) {
    const { status, body } = await ask(request);
    const { message: told, hint } = body as { message: string; hint: string };
    assert.deepEqual([status, message.test(told), hint !== ''], [400, true, true], told);
  }
});
