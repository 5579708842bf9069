// What two directors say to each other: framing however the stream is cut, and every way in which the other one can fail.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../../test/property.ts';
import { CodedError } from '../../base/errors.ts';
import { sendWithDescriptors } from '../../raw-socket/descriptor-passing.ts';
import { closeDescriptor } from '../../raw-socket/file.ts';
import { socketPair } from '../../raw-socket/unix-socket.ts';
import { Channel, refusalOf } from './channel.ts';
import { encodeFrame, FrameReader, PROTOCOL_VERSION } from './frame.ts';

const code = (expected: string) => (error: unknown) => error instanceof CodedError && error.code === expected;

test('any messages, cut anywhere, come out as they went in, each with its own descriptors', () => {
  const message = fc.record({
    kind: fc.string({ minLength: 1, maxLength: 12 }),
    body: fc.dictionary(fc.string({ maxLength: 6 }), fc.jsonValue(), { maxKeys: 4, noNullPrototype: true }),
    descriptors: fc.array(fc.nat(), { maxLength: 5 }),
  });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 6 }), fc.array(fc.integer({ min: 1, max: 40 })), (messages, cuts) => {
      const reader = new FrameReader();
      const seen: unknown[] = [];
      let turn = 0;
      for (const { kind, body, descriptors } of messages) {
        const frame = encodeFrame(kind, body, descriptors.length);
        for (let at = 0; at < frame.length; ) {
          const bytes = cuts.length === 0 ? frame.length : cuts[turn++ % cuts.length];
          reader.push(frame.subarray(at, at + bytes), at === 0 ? descriptors : []);
          at += bytes;
          for (let next = reader.next(); next !== null; next = reader.next()) seen.push(next);
        }
      }
      const expected = messages.map(({ kind, body, descriptors }) => {
        return { kind, body: JSON.parse(JSON.stringify({ ...body, kind })), descriptors };
      });
      assert.deepEqual(seen, expected);
      assert.equal(reader.partial, false);
      assert.deepEqual(reader.unclaimed, []);
    }),
    { numRuns: 200 },
  );
});

test('bytes that are no message are refused, whatever they are', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 12, maxLength: 64 }), (bytes) => {
      const reader = new FrameReader();
      reader.push(bytes, []);
      assert.throws(() => reader.next(), code('GD_TAKEOVER_MESSAGE'));
    }),
  );
  const claims = encodeFrame('state', {}, 0);
  new DataView(claims.buffer).setUint32(8, 0xffffffff);
  const reader = new FrameReader();
  reader.push(claims, []);
  assert.throws(() => reader.next(), /claims 4294967295 bytes/);
});

test('another version is named, with the way out', () => {
  const reader = new FrameReader();
  reader.push(encodeFrame('hello', {}, 0, PROTOCOL_VERSION + 1), []);
  assert.throws(() => reader.next(), code('GD_TAKEOVER_VERSION'));
});

test('a message that came without its descriptors is none', () => {
  const reader = new FrameReader();
  reader.push(encodeFrame('state', {}, 2), [3]);
  assert.throws(() => reader.next(), /2 descriptors were sent with it and 1 came/);
});

test('over a real socket: messages of any size with descriptors, refusals, silence, and an end in the middle', async () => {
  const [one, two] = socketPair();
  const [here, there] = [new Channel(one), new Channel(two)];
  const long = 'x'.repeat(3_000_000);
  const [sent, message] = await Promise.all([here.send('state', { long }, [one, two]), there.expect(['state'], 5000)]);
  assert.equal(sent, undefined);
  assert.equal((message.body.long as string).length, long.length);
  assert.equal(message.descriptors.length, 2);
  message.descriptors.forEach(closeDescriptor);

  await assert.rejects(there.expect(['go'], 20), code('GD_TAKEOVER_SLOW'));
  await here.send('refuse', refusalOf(new CodedError('GD_X_Y', 'other threads', { exitCode: 78, hint: 'restart' })));
  await assert.rejects(there.expect(['go'], 1000), (error) => {
    assert.ok(error instanceof CodedError);
    assert.deepEqual([error.message, error.hint, error.exitCode], ['other threads', 'restart', 78]);
    return true;
  });
  await here.send('nonsense', {}, [one]);
  await assert.rejects(there.expect(['go'], 1000), /says nonsense and not go/);

  const half = encodeFrame('left', { counters: [1, 2, 3] }, 1);
  sendWithDescriptors(one, half.subarray(0, half.length - 4), [one]);
  here.close();
  // The descriptor in the unfinished message is another end of the same socket: closed with the channel.
  await assert.rejects(there.expect(['left'], 50), code('GD_TAKEOVER_SLOW'));
  there.close();
});

test('a peer that ends is noticed at once, also in the middle of a message', async () => {
  for (const bytes of [0, 5]) {
    const [one, two] = socketPair();
    const there = new Channel(two);
    if (bytes > 0) sendWithDescriptors(one, encodeFrame('left', {}, 0).subarray(0, bytes));
    closeDescriptor(one);
    await assert.rejects(there.expect(['left'], 1000), code('GD_RAW_SOCKET_PEER_GONE'));
    await assert.rejects(there.send('go'), code('GD_RAW_SOCKET_PEER_GONE'));
    there.close();
    there.close();
  }
});
