import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LineStream, lineStream } from './trace-stream.ts';

/** A stream of 50 ms of patience, and the client at its other end, which has read nothing. */
async function stage(t: TestContext) {
  let opened: (stream: LineStream) => void = () => {};
  const asked = new Promise<LineStream>((done) => {
    opened = done;
  });
  const server = createServer((_, response) => opened(lineStream(response, 50))).listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
  client.on('error', () => {});
  t.after(() => {
    client.destroy();
    server.close();
  });
  client.write('GET / HTTP/1.1\r\nhost: here\r\n\r\n');
  const stream = await asked;
  let closed = false;
  stream.closed(() => {
    closed = true;
  });
  return { server, client, stream, isClosed: () => closed };
}

test('a client that reads nothing is let go when its stream has ended', async (t) => {
  const { server, stream, isClosed } = await stage(t);
  const line = { text: 'x'.repeat(1024 * 1024) };
  while (stream.backlog < 8 * 1024 * 1024) stream.write(line);
  stream.end();
  await sleep(20);
  assert.equal(isClosed(), false);
  await sleep(100);
  assert.equal(isClosed(), true);
  const left = await new Promise((done) => server.getConnections((_, count) => done(count)));
  assert.equal(left, 0);
});

test('one that reads has everything, and nothing is ended under it', async (t) => {
  const { client, stream, isClosed } = await stage(t);
  let text = '';
  client.on('data', (bytes) => {
    text += String(bytes);
  });
  client.resume();
  stream.write({ kind: 'note' });
  stream.end();
  await sleep(100);
  assert.equal(isClosed(), true);
  assert.match(text, /\{"kind":"note"\}\n[\s\S]*\r\n0\r\n\r\n$/);
  assert.equal(client.destroyed, false, 'its connection is kept for another question');
});
