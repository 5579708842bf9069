/** The other side of the HTTP face: commands ask a running director. */
import { request } from 'node:http';
import { CodedError, EXIT } from '../base/errors.ts';
import { STATUS_PATH, type Status } from './status.ts';

/** Milliseconds for the whole answer. */
const PATIENCE = 5000;

interface Place {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

/** What the director that listens there says of itself. Throws GD_ADMIN_UNREACHABLE (exit code 69) when none answers. */
export async function askStatus(place: Place): Promise<Status> {
  const { status, body } = await get(place, STATUS_PATH);
  const at = placeText(place);
  if (status === 404)
    throw unreachable(`what answers at ${at} knows no ${STATUS_PATH}`, 'an older gue-director may run there: restart it');
  const answer = status === 200 ? parsed(body) : null;
  if (answer === null) {
    throw unreachable(
      `${at} answers with HTTP ${status}, but not as a gue-director`,
      `see who listens there: ss -ltnp 'sport = :${place.port}'`,
    );
  }
  return answer;
}

function parsed(body: string): Status | null {
  try {
    const value = JSON.parse(body) as Partial<Status> | null;
    return typeof value?.version === 'string' && Array.isArray(value.backends) ? (value as Status) : null;
  } catch {
    // Not JSON: then it is not a director, and the caller says so.
    return null;
  }
}

function get(place: Place, path: string): Promise<{ status: number; body: string }> {
  return new Promise((done, fail) => {
    const refuse = (error: NodeJS.ErrnoException) =>
      fail(
        unreachable(
          `no director answers at ${placeText(place)}: ${error.code ?? error.message}`,
          'is it running, in this network namespace, with this metrics.listen? systemctl status gue-director',
          error,
        ),
      );
    const asked = request({ ...place, path, agent: false, signal: AbortSignal.timeout(PATIENCE) }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        body += part;
      });
      response.on('error', refuse);
      response.on('end', () => done({ status: response.statusCode ?? 0, body }));
    });
    asked.on('error', refuse);
    asked.end();
  });
}

function unreachable(message: string, hint: string, cause?: unknown): CodedError {
  return new CodedError('GD_ADMIN_UNREACHABLE', message, { exitCode: EXIT.UNREACHABLE, hint, cause });
}

function placeText({ host, port }: Place): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
