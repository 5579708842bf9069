/** An answer that goes on: JSON lines until one side has had enough. On the unix socket only, as every action (actions.ts). */
import type { ServerResponse } from 'node:http';

export const TRACE_PATH = '/-/trace';

/** Where lines are written to. */
export interface LineStream {
  /** A JSON object, on a line of its own. Nothing when the client has gone. */
  write(line: object): void;
  /** Bytes that the client has not taken yet. */
  readonly backlog: number;
  /** No more lines. */
  end(): void;
  /** Called once, when the client has gone or everything was written. */
  closed(gone: () => void): void;
}

/** Milliseconds that a client has to take the last lines; then its connection is ended, and what it did not read is let go. */
const LAST_PATIENCE = 5000;

/** `patience`: milliseconds, in place of LAST_PATIENCE. */
export function lineStream(response: ServerResponse, patience = LAST_PATIENCE): LineStream {
  response.writeHead(200, {
    'content-type': 'application/x-ndjson',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.flushHeaders();
  // A client that goes away while something is written to it: `closed` tells.
  response.on('error', () => response.destroy());
  return {
    write: (line) => {
      if (!response.destroyed && !response.writableEnded) response.write(`${JSON.stringify(line)}\n`);
    },
    get backlog() {
      return response.writableLength;
    },
    end: () => {
      response.end();
      // `destroy` of one that was read to its end does nothing.
      const late = setTimeout(() => response.destroy(), patience).unref();
      response.once('close', () => clearTimeout(late));
    },
    closed: (gone) => {
      if (response.destroyed) gone();
      else response.once('close', gone);
    },
  };
}
