// The worker's service, a process of its own: HTTP/1.1 on one port, HTTP/2 on another. It answers with the hash of what arrived.
//
//     POST /        (HTTP/1.1)  64 hex digits, the SHA-256 of the body
//     POST /digest  (HTTP/2)    for each length-prefixed message one of 64 hex digits, in order, while the next ones arrive
//
// Prints `ready` once both listen.

import { createHash } from 'node:crypto';
import { createServer as createServer1 } from 'node:http';
import { createServer as createServer2, type ServerHttp2Stream } from 'node:http2';
import { frame, hashOf, MessageReader, MIB, POST_PORT, STREAM_PORT } from './load.ts';

const posts = createServer1({ keepAliveTimeout: 120_000 }, (request, response) => {
  const hash = createHash('sha256');
  request.on('data', (piece: Buffer) => hash.update(piece));
  request.on('end', () => response.end(hash.digest('hex')));
  request.on('error', () => response.destroy());
});

function digest(stream: ServerHttp2Stream): void {
  const reader = new MessageReader((message) => {
    const answer = Buffer.from(hashOf(message));
    stream.write(frame(answer));
    stream.write(answer);
  });
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
  stream.on('data', (piece: Buffer) => reader.push(piece));
  stream.on('end', () => {
    if (reader.isComplete) stream.end();
    else stream.close();
  });
  // The client sees the same and reports it.
  stream.on('error', () => stream.close());
}

// Windows as gRPC servers have them once they know a fast path.
const streams = createServer2({ settings: { initialWindowSize: MIB, maxConcurrentStreams: 1000 } });
streams.on('session', (session) => session.setLocalWindowSize(16 * MIB));
streams.on('stream', digest);

let listening = 0;
for (const [server, port] of [
  [posts, POST_PORT],
  [streams, STREAM_PORT],
] as const) {
  server.listen(port, '::', () => {
    if (++listening === 2) process.stdout.write('ready\n');
  });
}
process.on('SIGTERM', () => process.exit(0));
