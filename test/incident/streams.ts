// Streams as gRPC makes them: many at once on few HTTP/2 connections, each a sequence of length-prefixed messages, each message answered
// with the hash of what arrived while the next ones are on their way.

import { once } from 'node:events';
import { type ClientHttp2Session, connect } from 'node:http2';
import { Random } from '../full/random.ts';
import { Account } from './account.ts';
import {
  content,
  frame,
  hashOf,
  KIB,
  type LoadResult,
  MessageReader,
  messageSizes,
  STREAM_PORT,
  type StreamOrder,
} from './load.ts';
import { Pace } from './pace.ts';

const PATIENCE_MS = 30_000;
const PIECE = 64 * KIB;

export async function streams(order: StreamOrder): Promise<LoadResult> {
  const account = new Account();
  const pace = new Pace(order.rate);
  const random = new Random(order.seed);
  let taken = 0;

  async function lane(session: ClientHttp2Session, host: string): Promise<void> {
    while (taken < order.streams) {
      const number = taken++;
      const messages = messageSizes(random, number, order.messages).map((bytes, k) => content(number * 31 + k, bytes));
      try {
        await converse(session, messages, pace);
        account.completed++;
        for (const message of messages) {
          account.messages++;
          account.carried(message.length);
        }
      } catch (error) {
        account.failed(`stream ${number} to ${host}`, error);
      }
    }
  }

  async function connection(turn: number): Promise<void> {
    const host = order.addresses[turn % order.addresses.length];
    const session = connect(`http://${host.includes(':') ? `[${host}]` : host}:${STREAM_PORT}`);
    // Every stream of it reports what happened.
    session.on('error', () => {});
    account.connections++;
    await Promise.all(Array.from({ length: order.concurrent }, () => lane(session, host)));
    session.close();
  }
  await Promise.all(Array.from({ length: order.connections }, (_, turn) => connection(turn)));
  return account.result('streams');
}

/** One stream to its end. Throws when an answer is wrong or missing. */
async function converse(session: ClientHttp2Session, messages: readonly Buffer[], pace: Pace): Promise<void> {
  const stream = session.request({ ':method': 'POST', ':path': '/digest', 'content-type': 'application/grpc', te: 'trailers' });
  stream.setTimeout(PATIENCE_MS, () => stream.destroy(new Error(`no progress for ${PATIENCE_MS / 1000} s`)));
  const answers: string[] = [];
  const reader = new MessageReader((answer) => answers.push(answer.toString()));
  const ended = new Promise<void>((resolve, reject) => {
    stream.on('data', (piece: Buffer) => reader.push(piece));
    stream.once('error', reject);
    stream.once('close', () => (stream.rstCode === 0 ? resolve() : reject(new Error(`reset with code ${stream.rstCode}`))));
  });
  const sent = (async () => {
    for (const message of messages) {
      stream.write(frame(message));
      for (let at = 0; at < message.length; at += PIECE) {
        const piece = message.subarray(at, at + PIECE);
        await pace.take(piece.length);
        if (!stream.write(piece) && !stream.destroyed) await once(stream, 'drain');
      }
    }
    stream.end();
  })();
  await Promise.race([Promise.all([sent, ended]), ended]);
  await sent;
  if (answers.length !== messages.length) throw new Error(`${answers.length} answers to ${messages.length} messages`);
  const wrong = messages.findIndex((message, k) => hashOf(message) !== answers[k]);
  if (wrong >= 0) throw new Error(`message ${wrong} of ${messages[wrong].length} bytes: wrong hash`);
}
