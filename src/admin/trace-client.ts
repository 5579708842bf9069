/** The other side of a trace: asks the director behind a unix socket, and takes what it says line by line. */

import type { IncomingMessage } from 'node:http';
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { CodedError, EXIT } from '../base/errors.ts';
import type { TraceLine } from '../trace/told.ts';
import { TRACE_PATH } from './trace-stream.ts';

const PATIENCE = 5000;
/** How a connection ends that the other side, or we, did not end in order: `aborted` is an ECONNRESET too. */
const ENDS: readonly string[] = ['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'];

export interface RunningTrace {
  readonly lines: AsyncIterable<TraceLine>;
  /** Asks the director to end it: the last line comes still. Asked twice, or in vain, it goes away without. */
  stop(): void;
  /** Goes away without: the director ends the trace by itself. */
  leave(): void;
}

/**
 * Starts a trace. Throws GD_ADMIN_UNREACHABLE (69) when no director answers, and the director's own error when it refuses. When it goes away without a last word, so
 * do the lines.
 */
export async function openTrace(socket: string, asked: object): Promise<RunningTrace> {
  const response = await answered(socket, asked);
  if (response.statusCode !== 200) throw await refusal(response, socket);
  let asking: Promise<void> | null = null;
  return {
    lines: linesOf(response),
    leave: () => void response.destroy(),
    stop: () => {
      if (asking !== null) response.destroy();
      asking ??= answered(socket, { end: true }).then(
        (told) => void told.resume(),
        () => void response.destroy(),
      );
    },
  };
}

function answered(socket: string, asked: object): Promise<IncomingMessage> {
  return new Promise((done, fail) => {
    const sent = request({ socketPath: socket, method: 'POST', path: TRACE_PATH, agent: false }, (response) => {
      sent.setTimeout(0);
      done(response);
    });
    sent.setTimeout(PATIENCE, () => sent.destroy(new Error(`nothing within ${PATIENCE / 1000} s`)));
    sent.on('error', (error: NodeJS.ErrnoException) => {
      const hint =
        error.code === 'EACCES'
          ? `ask as root, or as a member of the socket's group: ls -l ${socket}`
          : 'is it running, with this admin.socket? systemctl status gue-director';
      fail(
        new CodedError('GD_ADMIN_UNREACHABLE', `no director answers at ${socket}: ${error.code ?? error.message}`, {
          exitCode: EXIT.UNREACHABLE,
          hint,
          cause: error,
        }),
      );
    });
    sent.end(JSON.stringify(asked));
  });
}

async function refusal(response: IncomingMessage, socket: string): Promise<CodedError> {
  let text = '';
  response.setEncoding('utf8');
  for await (const part of response) text += part as string;
  let told: Record<string, unknown> = {};
  try {
    told = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // Not JSON: then it is not a director, which the sentence below says.
  }
  const { statusCode = 0 } = response;
  if (statusCode === 404) {
    return new CodedError('GD_ADMIN_UNREACHABLE', `what answers at ${socket} knows no ${TRACE_PATH}`, {
      exitCode: EXIT.UNREACHABLE,
      hint: 'an older gue-director may run there: gue-director upgrade',
    });
  }
  const {
    message = `what answers at ${socket} says HTTP ${statusCode}`,
    hint = '',
    code = 'GD_TRACE_REFUSED',
  } = told as Record<string, string>;
  return new CodedError(code, message, { exitCode: statusCode === 400 ? EXIT.USAGE : EXIT.FAILED, hint });
}

async function* linesOf(response: IncomingMessage): AsyncGenerator<TraceLine> {
  // The end of a connection, ours or the director's, ends the lines: whether there was a last word, the reader sees.
  response.on('error', () => response.destroy());
  let cut: unknown = null;
  try {
    for await (const line of createInterface({ input: response })) {
      // Only the last line may be cut.
      if (cut !== null) throw cut;
      if (line === '') continue;
      let told: TraceLine;
      try {
        told = JSON.parse(line) as TraceLine;
      } catch (error) {
        cut = error;
        continue;
      }
      yield told;
    }
  } catch (error) {
    if (!ENDS.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
