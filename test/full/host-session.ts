// A long connection to the director's host itself, line by line as somebody types over ssh: it must not notice what comes and goes at the interface.

import type { Lab } from '../../src/demo/lab/topology.ts';
import { Program } from './program.ts';

const PORT = 22;

const SERVER = `
  const server = require('node:net').createServer((socket) => socket.on('error', () => {}).pipe(socket));
  server.listen(${PORT}, '::', () => console.log('listening'));`;

/** One line at a time; at the end what came back, and how long the slowest took. */
const CLIENT = `
  const [address] = process.argv.slice(1);
  let lines = 0, worst = 0, sentAt = 0, error = '';
  const socket = require('node:net').connect(${PORT}, address, () => { console.log('connected'); type(); });
  function type() { sentAt = performance.now(); socket.write('line ' + lines + '\\n'); }
  socket.on('data', (bytes) => {
    if (String(bytes) !== 'line ' + lines + '\\n') error ||= 'another answer: ' + bytes;
    worst = Math.max(worst, performance.now() - sentAt);
    lines++;
    setTimeout(type, 10);
  });
  socket.on('error', (one) => { error ||= one.message; });
  socket.on('close', () => { error ||= 'it was closed'; });
  process.on('SIGTERM', () => {
    worst = Math.max(worst, performance.now() - sentAt - 10);
    console.log(JSON.stringify({ lines, worst: Math.round(worst), error }));
    process.exit();
  });`;

export interface SessionResult {
  readonly family: 4 | 6;
  readonly lines: number;
  /** Milliseconds until the slowest answer. */
  readonly worst: number;
  /** Empty when the connection lives and every answer was right. */
  readonly error: string;
}

/** Two of them, one over each family. */
export class HostSessions {
  readonly #server: Program;
  readonly #clients: readonly Program[];

  private constructor(server: Program, clients: readonly Program[]) {
    this.#server = server;
    this.#clients = clients;
  }

  static async start({ director, client }: Lab): Promise<HostSessions> {
    const server = await Program.start(director, process.execPath, ['-e', SERVER], 'listening');
    const connect = (address: string) => Program.start(client, process.execPath, ['-e', CLIENT, address], 'connected');
    return new HostSessions(server, await Promise.all([director.address4, director.address6].map(connect)));
  }

  async end(): Promise<SessionResult[]> {
    const results: SessionResult[] = [];
    for (const [k, client] of this.#clients.entries()) {
      await client.stop();
      const said = client.words.slice(client.words.indexOf('{'));
      results.push({ family: k === 0 ? 4 : 6, ...(JSON.parse(said) as Omit<SessionResult, 'family'>) });
    }
    await this.#server.stop();
    return results;
  }
}

/** What is wrong with them, when no answer may take longer than `most` milliseconds. */
export function wrongSessions(results: readonly SessionResult[], most: number): string[] {
  return results.flatMap(({ family, lines, worst, error }) => [
    ...(error === '' ? [] : [`the session over IPv${family}: ${error}`]),
    ...(lines > 0 && worst <= most ? [] : [`the session over IPv${family}: ${lines} lines, ${worst} ms for one`]),
  ]);
}

export function describeSessions(results: readonly SessionResult[]): string {
  return results.map(({ family, lines, worst }) => `IPv${family}: ${lines} lines, the slowest after ${worst} ms`).join('; ');
}
