/** One HTTP transfer through the director, hashed at both ends. */
import { createHash } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { content } from './content.ts';

export interface TransferOrder {
  readonly kind: 'download' | 'upload';
  readonly address: string;
  readonly port: number;
  readonly bytes: number;
}

export interface TransferResult {
  readonly kind: 'download' | 'upload';
  /** 4 or 6: the family of the VIP. */
  readonly family: number;
  readonly bytes: number;
  readonly milliseconds: number;
  /** The worker's own word for itself; empty when nobody answered. */
  readonly worker: string;
  readonly sha256: string;
  /** Empty, or why the transfer did not complete. */
  readonly error: string;
}

/** A transfer that stands still for so long has failed. */
const PATIENCE_MS = 8000;

/** Does one transfer over a connection of its own. Never rejects: a failure is in `error`. */
export async function transfer(order: TransferOrder): Promise<TransferResult> {
  const started = performance.now();
  const base = { kind: order.kind, family: order.address.includes(':') ? 6 : 4 };
  const taken = () => Math.round(performance.now() - started);
  try {
    const done = order.kind === 'download' ? await download(order) : await upload(order);
    return { ...base, ...done, milliseconds: taken(), error: '' };
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    return { ...base, bytes: 0, milliseconds: taken(), worker: '', sha256: '', error: words };
  }
}

async function download(order: TransferOrder): Promise<{ worker: string; bytes: number; sha256: string }> {
  const response = await exchange(order, 'GET', `/download?bytes=${order.bytes}`);
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { worker: String(response.headers['x-worker'] ?? ''), bytes, sha256: hash.digest('hex') };
}

async function upload(order: TransferOrder): Promise<{ worker: string; bytes: number; sha256: string }> {
  const response = await exchange(order, 'POST', '/upload');
  response.setEncoding('utf8');
  let text = '';
  for await (const chunk of response as AsyncIterable<string>) text += chunk;
  return JSON.parse(text) as { worker: string; bytes: number; sha256: string };
}

async function exchange(order: TransferOrder, method: string, path: string): Promise<IncomingMessage> {
  const headers = method === 'POST' ? { 'content-length': order.bytes } : {};
  // No agent: every transfer is a new connection, and so a new flow for the director to steer.
  const outgoing = request({ host: order.address, port: order.port, method, path, headers, agent: false, timeout: PATIENCE_MS });
  outgoing.on('timeout', () => outgoing.destroy(new Error(`no progress for ${PATIENCE_MS / 1000} s`)));
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.on('error', reject);
  });
  if (method === 'POST') {
    // The pipeline's failure is also the request's; the response promise reports it.
    await Promise.race([pipeline(Readable.from(content(order.bytes)), outgoing), response]);
  } else {
    outgoing.end();
  }
  const arrived = await response;
  if (arrived.statusCode !== 200) {
    arrived.resume();
    throw new Error(`HTTP ${arrived.statusCode}`);
  }
  return arrived;
}
