/**
 * A worker's HTTP server, a process of its own: `node web-server.js <name> [port]`. It knows nothing of tunnels.
 *
 *     GET  /                     the worker's name
 *     GET  /download?bytes=N     N bytes of `content` (header x-worker: name)
 *     POST /upload               { worker, bytes, sha256 } of what arrived, as JSON
 *
 * Prints `ready` once it listens.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { content } from './content.ts';

const MAX_DOWNLOAD = 1 << 30;
const name = process.argv[2] ?? 'worker';
const port = Number(process.argv[3] ?? 80);

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://worker');
  response.setHeader('x-worker', name);
  if (request.method === 'GET' && url.pathname === '/') {
    response.end(`${name}\n`);
    return;
  }
  if (request.method === 'GET' && url.pathname === '/download') {
    const bytes = Number(url.searchParams.get('bytes'));
    if (!Number.isInteger(bytes) || bytes < 0 || bytes > MAX_DOWNLOAD) {
      response.writeHead(400).end(`bytes must be a whole number from 0 to ${MAX_DOWNLOAD}\n`);
      return;
    }
    response.writeHead(200, { 'content-length': bytes, 'content-type': 'application/octet-stream' });
    await pipeline(Readable.from(content(bytes)), response);
    return;
  }
  if (request.method === 'POST' && url.pathname === '/upload') {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    response.setHeader('content-type', 'application/json');
    response.end(`${JSON.stringify({ worker: name, bytes, sha256: hash.digest('hex') })}\n`);
    return;
  }
  response.writeHead(404).end('GET /, GET /download?bytes=N or POST /upload\n');
}

const server = createServer((request, response) => {
  answer(request, response).catch((error: unknown) => {
    // A client that goes away in the middle ends its own request only.
    process.stderr.write(`${name}: ${String(error)}\n`);
    response.destroy();
  });
});
server.listen(port, '::', () => process.stdout.write('ready\n'));
process.on('SIGTERM', () => process.exit(0));
