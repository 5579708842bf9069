/** The other side of the HTTP face: commands ask a running director. */
import { request } from 'node:http';
import { CodedError, EXIT } from '../base/errors.ts';
import { EXPLAIN_PATH, HISTORY_PATH, STATUS_PATH, type Status } from './status.ts';

/** Milliseconds for the whole answer. */
const PATIENCE = 5000;
/** The same for what takes longer than a look: a reload builds tables. */
const ACTION_PATIENCE = 60_000;
/** Milliseconds until whoever waits is told so, and between two such words. */
const WAITING_AFTER = 2000;
const WAITING_EVERY = 15_000;

/** Where a director can be asked: an address without brackets and a port, or the path of its unix socket. */
export type Place = { readonly host: string; readonly port: number } | { readonly path: string };

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
      'path' in place
        ? `see who listens there: ss -xlp src ${place.path}`
        : `see who listens there: ss -ltnp 'sport = :${place.port}'`,
    );
  }
  return answer;
}

/** Characters of a packet that still fit a query, and a request (MOST_REQUEST of actions.ts). */
const MOST_IN_QUERY = 6000;
const MOST_IN_REQUEST = 65_000;

/**
 * What the director that listens there would do with a packet; `query` as in docs/explain.md. Throws GD_ADMIN_UNREACHABLE (exit code 69) when none answers, and the
 * director's own error for a question that it can not read; GD_EXPLAIN_TOO_LONG (2) for a packet that does not fit a question.
 */
export async function askExplain(place: Place, query: Readonly<Record<string, string>>): Promise<object> {
  const long = query.packet?.length ?? 0;
  if (long > MOST_IN_REQUEST) {
    throw new CodedError('GD_EXPLAIN_TOO_LONG', `a running director can be asked about at most ${MOST_IN_REQUEST / 2} bytes`, {
      exitCode: EXIT.USAGE,
      hint: 'with --offline any packet; or ask about its flow, with --length',
    });
  }
  const asked = new URLSearchParams(query).toString();
  const answer =
    long > MOST_IN_QUERY
      ? await ask(place, 'POST', EXPLAIN_PATH, JSON.stringify(query), PATIENCE)
      : await get(place, `${EXPLAIN_PATH}?${asked}`);
  return toldBy(place, EXPLAIN_PATH, answer, 'GD_EXPLAIN_REFUSED');
}

/** What happened at a time, as the director that listens there has it; `query` as in docs/history.md. Throws as askExplain does. */
export async function askHistory(place: Place, query: Readonly<Record<string, string>>): Promise<object> {
  const answer = await get(place, `${HISTORY_PATH}?${new URLSearchParams(query)}`);
  return toldBy(place, HISTORY_PATH, answer, 'GD_HISTORY_REFUSED');
}

/** The JSON object of an answer. `refused`: the code of a refusal that has none. */
function toldBy(
  place: Place,
  path: string,
  { status, body }: { readonly status: number; readonly body: string },
  refused: string,
): object {
  const at = placeText(place);
  if (status === 404)
    throw unreachable(`what answers at ${at} knows no ${path}`, 'an older gue-director may run there: gue-director upgrade');
  let answer: Readonly<Record<string, unknown>> | null = null;
  try {
    answer = JSON.parse(body) as Record<string, unknown> | null;
  } catch {
    // Not JSON: said below.
  }
  if (answer === null || typeof answer !== 'object')
    throw unreachable(`what answers at ${at} is no gue-director`, 'name another: --socket');
  if (status === 200) return answer;
  const { message = `the director answers with HTTP ${status}`, hint = '', code = refused } = answer as Record<string, string>;
  throw new CodedError(code, message, { exitCode: status === 400 ? EXIT.USAGE : EXIT.FAILED, hint });
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

/**
 * Asks the director behind the unix socket to do something (actions.ts); its answer, whatever the status. Throws GD_ADMIN_UNREACHABLE (exit code
 * 69) when nobody is there, GD_ADMIN_NO_ANSWER (1) when somebody is and has not answered within `patience` milliseconds. `waiting` is called now and
 * then meanwhile, with the milliseconds so far.
 */
export async function askAction(
  socket: string,
  path: string,
  body: object = {},
  patience = ACTION_PATIENCE,
  waiting?: (milliseconds: number) => void,
): Promise<{ status: number; body: Readonly<Record<string, unknown>> }> {
  const since = Date.now();
  const say = () => waiting?.(Date.now() - since);
  let timer = setTimeout(() => {
    say();
    timer = setInterval(say, WAITING_EVERY);
  }, WAITING_AFTER);
  const asked = ask({ path: socket }, 'POST', path, JSON.stringify(body), patience);
  const answer = await asked.finally(() => clearTimeout(timer));
  try {
    const value: unknown = JSON.parse(answer.body);
    if (value !== null && typeof value === 'object') return { status: answer.status, body: value as Record<string, unknown> };
  } catch {
    // Not JSON: said below.
  }
  throw unreachable(`what answers at ${socket} is no gue-director`, `see who listens there: ss -xlp src ${socket}`);
}

function get(place: Place, path: string): Promise<{ status: number; body: string }> {
  return ask(place, 'GET', path, '', PATIENCE);
}

function ask(
  place: Place,
  method: string,
  path: string,
  text: string,
  patience: number,
): Promise<{ status: number; body: string }> {
  const where = 'path' in place ? { socketPath: place.path } : place;
  return new Promise((done, fail) => {
    const signal = AbortSignal.timeout(patience);
    let connected = false;
    const refuse = (error: NodeJS.ErrnoException) => {
      if (signal.aborted && connected) {
        fail(silent(place, method, patience, error));
        return;
      }
      const why = signal.aborted ? `no connection within ${patience / 1000} s` : (error.code ?? error.message);
      fail(unreachable(`no director answers at ${placeText(place)}: ${why}`, remedy(place, error), error));
    };
    const options = { ...where, method, path, agent: false, signal };
    const asked = request(options, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        body += part;
      });
      response.on('error', refuse);
      response.on('end', () => done({ status: response.statusCode ?? 0, body }));
    });
    asked.on('error', refuse);
    asked.on('socket', (socket) =>
      socket.once('connect', () => {
        connected = true;
      }),
    );
    asked.end(text);
  });
}

/** Somebody is there. What it was asked to do it may be doing still. */
function silent(place: Place, method: string, patience: number, cause: unknown): CodedError {
  const message = `the director at ${placeText(place)} has not answered within ${patience / 1000} s`;
  if (method === 'GET')
    return unreachable(message, 'it is busy, or stuck: journalctl -u gue-director, and systemctl status gue-director', cause);
  return new CodedError('GD_ADMIN_NO_ANSWER', `${message}; it may be at it still`, {
    exitCode: EXIT.FAILED,
    hint: 'gue-director status   says how it ended; its log too: journalctl -u gue-director',
    cause,
  });
}

function remedy(place: Place, error: NodeJS.ErrnoException): string {
  if (!('path' in place))
    return 'is it running, in this network namespace, with this metrics.listen? systemctl status gue-director';
  if (error.code === 'EACCES') return `ask as root, or as a member of the socket's group: ls -l ${place.path}`;
  return 'is it running, with this admin.socket? systemctl status gue-director';
}

function unreachable(message: string, hint: string, cause?: unknown): CodedError {
  return new CodedError('GD_ADMIN_UNREACHABLE', message, { exitCode: EXIT.UNREACHABLE, hint, cause });
}

function placeText(place: Place): string {
  if ('path' in place) return place.path;
  const { host, port } = place;
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
