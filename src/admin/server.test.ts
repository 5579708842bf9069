import assert from 'node:assert/strict';
import { createServer, request as httpRequest } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { after, before, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { askStatus } from './client.ts';
import { type AdminServer, type Condition, openAdminServer } from './server.ts';
import type { Status } from './status.ts';

/** Milliseconds; the real 5 s would make a slow test. */
const PATIENCE = 600;

let condition: Condition = { ok: true, reasons: [] };
let metrics: () => Promise<string> = async () => 'x 1\n';
const failures: string[] = [];
const status: Status = {
  version: '1.2.3',
  pid: 7,
  config: 'director.yaml',
  uptime: 61,
  generation: 2,
  reload: { digest: '00', cause: 'start', result: 'success', age: 61, problem: null, confirmWithin: null, counts: {} },
  healthy: { ok: true, reasons: [] },
  ready: { ok: true, reasons: [] },
  draining: null,
  packets: { received: 5, forwarded: 4, replied: 0, passed: 0, dropped: 1, lost: 0 },
  drops: { 'no-backend': 1 },
  services: [],
  pools: [],
  backends: [],
  discovery: [],
  flowTable: {
    path: null,
    outcome: 'memory',
    reason: '',
    pickedUp: { entries: 0, confirmed: 0 },
    bytes: 65_536,
    entries: 4096,
    regions: 1,
  },
  threads: [],
};
let server: AdminServer;

let explained = 0;

before(async () => {
  server = await openAdminServer(
    { host: '127.0.0.1', port: 0 },
    {
      version: '1.2.3',
      healthy: () => condition,
      ready: () => condition,
      serviceReady: (name) => (name === 'web.1' ? { ok: false, reasons: ['pool p has no serving backend'] } : null),
      explain: (query: URLSearchParams) => {
        const end = performance.now() + Number(query.get('busy') ?? 0);
        while (performance.now() < end);
        explained++;
        return { status: query.has('flow') ? 200 : 400, body: { asked: [...query] } };
      },
      history: (query: URLSearchParams, isLocal: boolean) => ({ status: 200, body: { asked: [...query], isLocal } }),
      status: () => status,
      events: () => [],
      metrics: { contentType: 'text/plain; version=0.0.4', render: () => metrics() },
      failed: (error, path) => failures.push(`${path} ${(error as Error).message}`),
    },
    PATIENCE,
  );
});

after(() => server.close());

function get(
  path: string,
  method = 'GET',
  headers: NodeJS.Dict<string> = {},
): Promise<{ status: number; body: string; headers: NodeJS.Dict<string | string[]> }> {
  return new Promise((done, fail) => {
    const request = httpRequest({ host: server.host, port: server.port, path, method, headers, agent: false }, (response) => {
      let body = '';
      response.on('data', (part) => {
        body += part;
      });
      response.on('end', () => done({ status: response.statusCode ?? 0, body, headers: response.headers }));
    });
    request.on('error', fail);
    request.end();
  });
}

test('/metrics has the renderer’s text and content type', async () => {
  const answer = await get('/metrics?x=1');
  assert.equal(answer.status, 200);
  assert.equal(answer.body, 'x 1\n');
  assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4');
});

test('/-/status is JSON, and the client reads it', async () => {
  const answer = await get('/-/status');
  assert.equal(answer.headers['content-type'], 'application/json');
  assert.deepEqual(JSON.parse(answer.body), status);
  assert.deepEqual(await askStatus(server), status);
});

test('the client: nobody there, no director, an older one: each is exit code 69 with its next step', async () => {
  const other = createServer((request, response) => {
    response.writeHead(request.headers.host === `127.0.0.1:${port}` ? answering.code : 500);
    response.end(answering.body);
  });
  await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
  const { port } = other.address() as AddressInfo;
  const answering = { code: 200, body: '' };
  try {
    for (const [code, body, message] of [
      [200, 'hello', /not as a gue-director/],
      [200, '{"version":1}', /not as a gue-director/],
      [200, 'null', /not as a gue-director/],
      [404, 'nothing here', /knows no \/-\/status/],
      [500, '', /HTTP 500/],
    ] as const) {
      Object.assign(answering, { code, body });
      await assert.rejects(askStatus({ host: '127.0.0.1', port }), (error: CodedError) => {
        assert.match(error.message, message);
        assert.deepEqual([error.code, error.exitCode], ['GD_ADMIN_UNREACHABLE', 69]);
        return error.hint !== '';
      });
    }
  } finally {
    await new Promise((done) => other.close(done));
  }
  await assert.rejects(askStatus({ host: '127.0.0.1', port }), {
    code: 'GD_ADMIN_UNREACHABLE',
    exitCode: 69,
    message: /ECONNREFUSED/,
  });
});

test('/-/explain hands the question on, and its answer back', async () => {
  const asked = await get('/-/explain?flow=tcp+a+b&without=p/w');
  assert.deepEqual(
    [asked.status, JSON.parse(asked.body)],
    [
      200,
      {
        asked: [
          ['flow', 'tcp a b'],
          ['without', 'p/w'],
        ],
      },
    ],
  );
  assert.equal((await get('/-/explain')).status, 400);
});

test('the status page: for who asks for HTML by name; nothing in it may come from elsewhere or run inline', async () => {
  const html = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' };
  assert.match((await get('/')).body, /^gue-director 1\.2\.3\n/);
  const sent = await get('/', 'GET', html);
  assert.deepEqual([sent.status, sent.headers.location, sent.headers.vary], [302, '-/ui', 'accept']);
  const page = await get('/-/ui', 'GET', html);
  assert.deepEqual([page.status, page.headers['content-type']], [200, 'text/html; charset=utf-8']);
  const policy = String(page.headers['content-security-policy']);
  assert.match(
    policy,
    /^default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; /,
  );
  assert.match(policy, /base-uri 'none'; frame-ancestors 'none'$/);
  assert.deepEqual([page.headers['x-content-type-options'], page.headers['set-cookie']], ['nosniff', undefined]);
  assert.doesNotMatch(page.body, /\sstyle=|\son[a-z]+=|<script(?! src="ui\/page\.js" defer><\/script>)|<style/);
  for (const [name, type] of [
    ['page.js', 'text/javascript; charset=utf-8'],
    ['page.css', 'text/css; charset=utf-8'],
    ['icon.svg', 'image/svg+xml'],
  ]) {
    const asset = await get(`/-/ui/${name}`);
    assert.deepEqual([asset.status, asset.headers['content-type']], [200, type]);
    assert.ok(page.body.includes(`"ui/${name}"`));
  }
  assert.equal((await get('/-/ui/page.test.ts')).status, 404);
  assert.equal((await get('/-/ui/../server.ts')).status, 404);
  assert.equal((await get('/-/ui', 'POST')).status, 405);
});

test('/-/history hands the question on; over TCP nobody is local', async () => {
  const asked = await get('/-/history?at=14:02&client=192.0.2.7');
  assert.deepEqual(JSON.parse(asked.body), {
    asked: [
      ['at', '14:02'],
      ['client', '192.0.2.7'],
    ],
    isLocal: false,
  });
});

test('/-/healthy and /-/ready: 200, or 503 with every reason', async () => {
  for (const [path, word] of [
    ['/-/healthy', 'healthy'],
    ['/-/ready', 'ready'],
  ]) {
    condition = { ok: true, reasons: [] };
    assert.deepEqual([(await get(path)).status, (await get(path)).body], [200, `${word}\n`]);
    condition = { ok: false, reasons: ['pool a has no serving backend', 'stopping'] };
    const answer = await get(path);
    assert.equal(answer.status, 503);
    assert.equal(answer.body, `not ${word}\npool a has no serving backend\nstopping\n`);
  }
});

test('/-/ready/NAME: of one service; 404 for one that is not there', async () => {
  condition = { ok: true, reasons: [] };
  const answer = await get('/-/ready/web.1');
  assert.deepEqual([answer.status, answer.body], [503, 'not ready\npool p has no serving backend\n']);
  assert.equal((await get('/-/ready')).status, 200);
  for (const name of ['web', '', 'web.1/', '..']) assert.equal((await get(`/-/ready/${name}`)).status, 404, name);
});

test('/ lists what there is; other paths are 404; other methods 405', async () => {
  assert.match((await get('/')).body, /gue-director 1\.2\.3[\s\S]*\/metrics[\s\S]*\/-\/ready/);
  assert.equal((await get('/nowhere')).status, 404);
  const post = await get('/metrics', 'POST');
  assert.equal(post.status, 405);
  assert.equal(post.headers.allow, 'GET, HEAD');
  const head = await get('/metrics', 'HEAD');
  assert.deepEqual([head.status, head.body, head.headers['content-length']], [200, '', '4']);
});

test('an answer that fails is 500 and reported', async () => {
  metrics = () => Promise.reject(new Error('no figures'));
  assert.equal((await get('/metrics')).status, 500);
  assert.deepEqual(failures, ['/metrics no figures']);
  metrics = async () => 'x 1\n';
});

test('headers without end are refused, not collected', async () => {
  const answer = await new Promise<string>((done, fail) => {
    const socket = connect(server.port, server.host, () => socket.write(`GET / HTTP/1.1\r\nx: ${'a'.repeat(20_000)}\r\n\r\n`));
    let text = '';
    socket.on('data', (part) => {
      text += part;
    });
    socket.on('close', () => done(text));
    socket.on('error', fail);
  });
  assert.match(answer, /^HTTP\/1\.1 431 /);
});

/** Opens a connection, sends `text`, and waits until the server has taken it. */
function hold(text: string): Promise<{ ended: Promise<string>; close(): void }> {
  return new Promise((done, fail) => {
    const socket = connect(server.port, server.host, () => {
      socket.write(text, () => done({ ended, close: () => socket.destroy() }));
    });
    socket.once('error', fail);
    const ended = new Promise<string>((end) => {
      let heard = '';
      socket.on('data', (part) => {
        heard += part;
      });
      socket.on('error', () => {});
      socket.on('close', () => end(heard));
    });
  });
}

test('hundreds of questions in one segment leave time for everything else, and are not answered to who has gone', async () => {
  condition = { ok: true, reasons: [] };
  explained = 0;
  const flood = await hold('GET /-/explain?busy=20 HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(600));
  let longest = 0;
  for (let i = 0; i < 5; i++) {
    const before = performance.now();
    assert.equal((await get('/-/healthy')).status, 200);
    longest = Math.max(longest, performance.now() - before);
  }
  const metricsAt = performance.now();
  assert.equal((await get('/metrics')).status, 200);
  // All 600 together are 12 s of work.
  assert.ok(performance.now() - metricsAt < 5000, 'another connection gets its turn');
  assert.ok(longest < 3000, `/-/healthy took ${longest} ms`);
  flood.close();
  await flood.ended;
  assert.ok(explained >= 1 && explained < 200, `${explained} were explained`);
});

test('whoever holds many connections half open does not keep a probe from its answer', async () => {
  condition = { ok: true, reasons: [] };
  const before = performance.now();
  const held = await Promise.all(
    Array.from({ length: 200 }, (_, i) => hold(i % 2 === 0 ? 'GET /-/healthy HTTP/1.1\r\nhost:' : '')),
  );
  for (let i = 0; i < 3; i++) assert.deepEqual((await get('/-/healthy')).body, 'healthy\n');
  assert.ok(performance.now() - before < 3000);
  for (const { close } of held) close();
});

test('a request that never ends is ended soon, and so is a connection without one', async () => {
  const before = performance.now();
  const [half, silent] = await Promise.all(['GET / HTTP/1.1\r\nhost:', ''].map(hold));
  assert.match(await half.ended, /^HTTP\/1\.1 408 /);
  await silent.ended;
  const took = performance.now() - before;
  assert.ok(took >= PATIENCE && took < 8 * PATIENCE, `${took} ms`);
});

test('a port in use is a coded error that says who to ask', async () => {
  await assert.rejects(
    openAdminServer({ host: server.host, port: server.port }, {} as never),
    (error: CodedError) =>
      error instanceof CodedError &&
      error.code === 'GD_ADMIN_LISTEN' &&
      error.message.includes(`127.0.0.1:${server.port}`) &&
      error.hint.includes(`ss -ltnp 'sport = :${server.port}'`),
  );
});
