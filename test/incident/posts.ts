// Large POSTs over several HTTP/1.1 connections side by side, each answered with the hash of what arrived.

import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { Random } from '../full/random.ts';
import { Account } from './account.ts';
import { bodySize, content, hashOf, KIB, type LoadResult, POST_PORT, type PostOrder } from './load.ts';
import { Pace } from './pace.ts';

/** A request that stands still for so long has failed. */
const PATIENCE_MS = 30_000;
const PIECE = 64 * KIB;

export async function posts(order: PostOrder): Promise<LoadResult> {
  const account = new Account();
  const pace = new Pace(order.rate);
  const random = new Random(order.seed);
  const end = order.seconds === 0 ? Number.POSITIVE_INFINITY : performance.now() + order.seconds * 1000;
  let taken = 0;

  async function worker(turn: number): Promise<void> {
    while (taken < order.posts && performance.now() < end) {
      const host = order.addresses[turn++ % order.addresses.length];
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      account.connections++;
      for (let k = 0; k < order.postsPerConnection && taken < order.posts && performance.now() < end; k++) {
        const number = taken++;
        const body = content(number, bodySize(random, number));
        try {
          const answer = await post(host, agent, body, pace);
          if (answer !== hashOf(body)) throw new Error(`wrong hash: ${answer.slice(0, 80)}`);
          account.completed++;
          account.carried(body.length);
        } catch (error) {
          account.failed(`POST ${number}, ${body.length} bytes to ${host}`, error);
        }
      }
      agent.destroy();
    }
  }
  await Promise.all(Array.from({ length: order.connections }, (_, turn) => worker(turn)));
  return account.result('posts');
}

async function post(host: string, agent: Agent, body: Buffer, pace: Pace): Promise<string> {
  const headers = { 'content-length': body.length };
  const outgoing = request({ host, port: POST_PORT, method: 'POST', path: '/', headers, agent, timeout: PATIENCE_MS });
  outgoing.on('timeout', () => outgoing.destroy(new Error(`no progress for ${PATIENCE_MS / 1000} s`)));
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.on('error', reject);
  });
  const sent = (async () => {
    for (let at = 0; at < body.length; at += PIECE) {
      const piece = body.subarray(at, at + PIECE);
      await pace.take(piece.length);
      // An error here is the request's, which the response's promise reports.
      if (!outgoing.write(piece) && !outgoing.destroyed) await once(outgoing, 'drain');
    }
    outgoing.end();
  })();
  await Promise.race([sent, response]);
  const arrived = await response;
  await sent;
  let text = '';
  arrived.setEncoding('utf8');
  for await (const piece of arrived as AsyncIterable<string>) text += piece;
  return arrived.statusCode === 200 ? text : `HTTP ${arrived.statusCode} ${text}`;
}
