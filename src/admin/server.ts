/**
 * HTTP for machines and people: metrics, liveness, readiness, status. On TCP it is read only and listens where the configuration says, by
 * default on loopback; on the unix socket it also takes what changes the director (actions.ts).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { CodedError } from '../base/errors.ts';
import type { JournalEvent } from '../observe/events.ts';
import { type ActionAnswer, type Actions, MOST_REQUEST } from './actions.ts';
import { AnswerQueue } from './answer-queue.ts';
import { pageAnswer, TO_PAGE, wantsPage } from './page/routes.ts';
import { listenAtPath } from './socket.ts';
import { EXPLAIN_PATH, HISTORY_PATH, STATUS_PATH, type Status } from './status.ts';
import { lineStream } from './trace-stream.ts';

/** An answer to "are you well?": one reason per line when not. */
export interface Condition {
  readonly ok: boolean;
  readonly reasons: readonly string[];
}

export interface AdminSource {
  readonly version: string;
  /** Alive: every forwarding thread goes round its loop. */
  healthy(): Condition;
  /** Ready for traffic: routers may send packets here. */
  ready(): Condition;
  /** The same for one service; null when there is none of that name. */
  serviceReady(name: string): Condition | null;
  status(): Status;
  /** What becomes of a packet (docs/explain.md): JSON, and the status code of the answer. */
  explain(query: URLSearchParams): { readonly status: number; readonly body: object };
  /** What happened lately, oldest first. */
  events(): readonly JournalEvent[];
  /** What happened at a time (docs/history.md): the same. `isLocal`: asked over the unix socket; only then addresses of clients are told. */
  history(query: URLSearchParams, isLocal: boolean): { readonly status: number; readonly body: object };
  readonly metrics: { readonly contentType: string; render(): Promise<string> };
  /** What may be asked for with POST; absent: nothing. Only for the unix socket. */
  readonly actions?: Actions;
  /** Told about an answer that could not be made. */
  failed(error: unknown, path: string): void;
}

/** Where to listen: an address and a port, or the path of a unix socket. */
export type AdminPlace = { readonly host: string; readonly port: number } | { readonly path: string };

export interface AdminServer {
  /** Where it listens, with the port the kernel chose when 0 was asked for; empty and 0 on a unix socket. */
  readonly host: string;
  readonly port: number;
  /** Stops listening, so that another process may, and answers what was asked already. */
  quiet(): void;
  /** Stops listening and ends open connections. */
  close(): Promise<void>;
}

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly stream?: ActionAnswer['stream'];
}

const TEXT = 'text/plain; charset=utf-8';
const JSON_TYPE = 'application/json';
const READY_OF = '/-/ready/';
const BUSY: Answer = {
  status: 503,
  type: TEXT,
  body: 'too many questions at a time on this connection: wait for an answer before the next one\n',
  headers: { 'retry-after': '1' },
};

/** Connections at a time: one more, and the oldest is ended. Refusing the newest would let anybody who holds them all silence us. */
const MOST_CONNECTIONS = 64;
/** Milliseconds that a client has for a request; without a byte either way for twice as long, its connection is ended. */
const PATIENCE = 5000;

/** Starts listening. Throws GD_ADMIN_LISTEN or GD_ADMIN_SOCKET when the place can not be had. `patience` in milliseconds. */
export async function openAdminServer(listen: AdminPlace, source: AdminSource, patience = PATIENCE): Promise<AdminServer> {
  const server = createServer({
    maxHeaderSize: 8192,
    requestTimeout: patience,
    headersTimeout: patience,
    keepAliveTimeout: patience,
    // How often the first two are looked at; Node's own choice is 30 s.
    connectionsCheckingInterval: Math.min(1000, patience),
  });
  server.setTimeout(2 * patience);
  const open = new Set<Socket>();
  server.on('connection', (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    for (const oldest of open) {
      if (open.size <= MOST_CONNECTIONS) break;
      open.delete(oldest);
      oldest.destroy();
    }
  });
  const queue = new AnswerQueue();
  server.on('request', (request, response) => {
    respond(request, response, source, queue).catch((error: unknown) => {
      source.failed(error, request.url ?? '');
      send(request, response, { status: 500, type: TEXT, body: 'this answer could not be made; the log says why\n' });
    });
  });
  let place = { host: '', port: 0 };
  if ('path' in listen) await listenAtPath(server, listen.path);
  else {
    await listening(server, listen);
    const { address, port } = server.address() as AddressInfo;
    place = { host: address, port };
  }
  return {
    ...place,
    quiet: () => {
      server.close();
    },
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

function listening(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const at = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
      const hints: Record<string, string> = {
        EADDRINUSE: `another process listens there (ss -ltnp 'sport = :${port}' names it): stop it or change metrics.listen`,
        EADDRNOTAVAIL: 'the address belongs to no interface of this host (ip address): change metrics.listen',
        EACCES: 'ports below 1024 need CAP_NET_BIND_SERVICE: change metrics.listen',
      };
      const hint = hints[error.code ?? ''] ?? 'change metrics.listen';
      fail(new CodedError('GD_ADMIN_LISTEN', `can not listen on ${at}: ${error.code ?? error.message}`, { hint, cause: error }));
    });
    server.listen({ host, port }, () => {
      server.removeAllListeners('error');
      done();
    });
  });
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  source: AdminSource,
  queue: AnswerQueue,
): Promise<void> {
  // Whoever asks whether we are well gives up soon, and the answer costs nothing. What changes the director has an order of its own.
  const isUrgent = request.method === 'POST' || /^\/-\/(healthy|ready)/.test(request.url ?? '');
  const made = isUrgent ? await answer(request, source) : await queue.take(request.socket, () => answer(request, source));
  if (made === null) return;
  if (made !== 'refused' && made.stream !== undefined) made.stream(lineStream(response));
  else send(request, response, made === 'refused' ? BUSY : made);
}

async function answer(request: IncomingMessage, source: AdminSource): Promise<Answer> {
  const [path, query = ''] = (request.url ?? '/').split('?', 2);
  if (request.method === 'POST' && source.actions !== undefined) return act(request, source.actions, path);
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return { status: 405, type: TEXT, body: 'only GET and HEAD\n', headers: { allow: 'GET, HEAD' } };
  }
  switch (path) {
    case '/metrics':
      return { status: 200, type: source.metrics.contentType, body: await source.metrics.render() };
    case '/-/healthy':
      return condition(source.healthy(), 'healthy');
    case '/-/ready':
      return condition(source.ready(), 'ready');
    case STATUS_PATH:
      return { status: 200, type: JSON_TYPE, body: `${JSON.stringify(source.status())}\n` };
    case EXPLAIN_PATH:
      return told(source.explain(new URLSearchParams(query)));
    case HISTORY_PATH:
      return told(source.history(new URLSearchParams(query), source.actions !== undefined));
    case '/':
      if (wantsPage(request.headers.accept)) return TO_PAGE;
      return { status: 200, type: TEXT, body: index(source.version) };
    default:
      if (path.startsWith(READY_OF)) return serviceCondition(path.slice(READY_OF.length), source);
      return pageAnswer(path, query, source) ?? { status: 404, type: TEXT, body: `nothing here\n\n${index(source.version)}` };
  }
}

function told({ status, body }: { readonly status: number; readonly body: object }): Answer {
  return { status, type: JSON_TYPE, body: `${JSON.stringify(body)}\n` };
}

/** `name` as it stands in the path. Names of services have no character that is written otherwise there (config/schema.ts). */
function serviceCondition(name: string, source: AdminSource): Answer {
  const found = source.serviceReady(name);
  if (found === null) return { status: 404, type: TEXT, body: 'no service of this name\n' };
  return condition(found, 'ready');
}

async function act(request: IncomingMessage, actions: Actions, path: string): Promise<Answer> {
  const json = (status: number, body: unknown): Answer => ({ status, type: JSON_TYPE, body: `${JSON.stringify(body)}\n` });
  const action = actions.get(path);
  if (action === undefined) return json(404, { message: `there is no ${path}`, actions: [...actions.keys()] });
  // An action takes as long as it takes.
  request.socket.setTimeout(0);
  let text = '';
  request.setEncoding('utf8');
  for await (const part of request) {
    text += part as string;
    if (text.length > MOST_REQUEST) return json(413, { message: `a request has at most ${MOST_REQUEST} bytes` });
  }
  let asked: unknown = {};
  try {
    if (text.trim() !== '') asked = JSON.parse(text);
  } catch (error) {
    return json(400, { message: `the request is not JSON: ${(error as Error).message}` });
  }
  if (asked === null || typeof asked !== 'object' || Array.isArray(asked))
    return json(400, { message: 'the request is no JSON object' });
  const { status, body, stream } = await action(asked as Record<string, unknown>);
  return stream === undefined ? json(status, body) : { ...json(status, body), stream };
}

function condition({ ok, reasons }: Condition, word: string): Answer {
  if (ok) return { status: 200, type: TEXT, body: `${word}\n` };
  return { status: 503, type: TEXT, body: `not ${word}\n${reasons.map((reason) => `${reason}\n`).join('')}` };
}

function index(version: string): string {
  return [
    `gue-director ${version}`,
    '',
    '/metrics     counters and gauges in the Prometheus text format',
    '/-/healthy   200 while every forwarding thread is alive',
    '/-/ready     200 while this director may be sent traffic; /-/ready/NAME for one service',
    '/-/status    its state, as JSON (gue-director status)',
    '/-/ui        the status page, for browsers',
    '/-/explain   what becomes of a packet, as JSON: ?flow=tcp+192.0.2.7:40000+198.51.100.1:443 (gue-director explain)',
    '/-/history   what happened at a time, as JSON: ?at=14:02, ?last=600 (gue-director history)',
    '',
  ].join('\n');
}

function send(request: IncomingMessage, response: ServerResponse, { status, type, body, headers }: Answer): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}
