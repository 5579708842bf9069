// Each kind of check against real servers on loopback: what they say when the worker does, and when it does not.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket as TcpSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { needs } from '../../test/needs.ts';
import { CodedError } from '../base/errors.ts';
import { EchoSocket } from '../host/echo-socket.ts';
import { createProbe } from './checks.ts';
import { EchoProbes } from './icmp.ts';
import type { ProbeOutcome, ProbeResources, ProbeTarget } from './probe.ts';
import type { CheckSpec, HttpCheckSpec, TcpCheckSpec, TlsSpec, UdpCheckSpec } from './spec.ts';
import { TlsFiles, tlsObjections } from './tls-files.ts';

const LOOPBACK = Uint8Array.of(127, 0, 0, 1);
const LOOPBACK6 = Uint8Array.from([...new Array(15).fill(0), 1]);
const NOBODY: ProbeResources = {
  ping: () => assert.fail('no ping here'),
  tunnel: () => assert.fail('no tunnel here'),
};
const closers: (() => unknown)[] = [];
after(() => closers.map((close) => close()));

function target(address: Uint8Array): ProbeTarget {
  return {
    pool: 'web',
    backend: { name: 'w1', address, weight: 1, state: 'active' },
    tunnel: { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'auto' },
    services: [],
  };
}

function ask(
  check: CheckSpec,
  { timeout = 2000, address = LOOPBACK, resources = NOBODY, signal = new AbortController().signal } = {},
): Promise<ProbeOutcome> {
  return createProbe(check, resources).probe(target(address), timeout, signal);
}

async function says(check: CheckSpec, ok: boolean, detail: string | RegExp, options = {}): Promise<void> {
  const outcome = await ask(check, options);
  if (typeof detail === 'string') assert.equal(outcome.detail, detail);
  else assert.match(outcome.detail, detail);
  assert.equal(outcome.ok, ok, outcome.detail);
}

const open = new Set<TcpSocket>();

async function listening(server: Server, host = '127.0.0.1'): Promise<number> {
  server.on('connection', (socket: TcpSocket) => {
    open.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => open.delete(socket));
  });
  server.listen(0, host);
  await once(server, 'listening');
  closers.push(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const tcpServer = (talk: (socket: TcpSocket) => void) => listening(createServer(talk));
const httpServer = (answer: RequestListener) => listening(createHttpServer(answer));

/** A port of loopback at which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const tcp = (port: number, change: Partial<TcpCheckSpec> = {}): CheckSpec => ({
  type: 'tcp',
  port,
  send: null,
  expect: null,
  ...change,
});
const http = (port: number, change: Partial<HttpCheckSpec> = {}): HttpCheckSpec => ({
  type: 'http',
  port,
  method: 'GET',
  path: '/',
  host: null,
  status: [{ from: 200, to: 299 }],
  body: null,
  tls: null,
  ...change,
});
const udp = (port: number, change: Partial<UdpCheckSpec> = {}): CheckSpec => ({
  type: 'udp',
  port,
  send: bytes('?'),
  expect: null,
  answer: 'required',
  ...change,
});

test('tcp: connected, refused, over IPv6', async () => {
  await says(tcp(await tcpServer(() => {})), true, 'connected');
  await says(tcp(await closedPort()), false, 'connection refused');
  const six = await listening(createServer(), '::1');
  await says(tcp(six), false, 'connection refused');
  await says(tcp(six), true, 'connected', { address: LOOPBACK6 });
});

test('tcp: what is sent and what must be answered, also in pieces; wrong, silent, closing early', async () => {
  const redis = await tcpServer((socket) => {
    socket.on('data', (data) => {
      assert.equal(String(data), 'PING\r\n');
      socket.write('+PO');
      setTimeout(() => socket.write('NG\r\n'), 20);
    });
  });
  await says(tcp(redis, { send: bytes('PING\r\n'), expect: bytes('+PONG') }), true, 'the answer is as wanted');
  await says(tcp(redis, { send: bytes('PING\r\n'), expect: bytes('+OK') }), false, 'the answer is "+PO", wanted "+OK"');
  const silent = await tcpServer(() => {});
  const began = Date.now();
  await says(tcp(silent, { expect: bytes('220 ') }), false, 'no answer within 0.2 s', { timeout: 200 });
  assert.ok(Date.now() - began < 1000);
  const closing = await tcpServer((socket) => socket.end());
  await says(tcp(closing, { expect: bytes('220 ') }), false, 'connection closed before the answer');
  const resetting = await tcpServer((socket) => socket.resetAndDestroy());
  await says(tcp(resetting, { expect: bytes('220 ') }), false, 'connection reset');
  const binary = await tcpServer((socket) => socket.end(Buffer.alloc(100, 0xff)));
  await says(tcp(binary, { expect: Uint8Array.of(0, 1) }), false, /^the answer is (ff){40}…, wanted 0001$/);
});

test('a probe that is given up ends at once and leaves no connection', async () => {
  const port = await tcpServer(() => {});
  const abort = new AbortController();
  const asked = ask(tcp(port, { expect: bytes('x') }), { signal: abort.signal });
  while (open.size === 0) await new Promise((done) => setTimeout(done, 5));
  abort.abort();
  assert.deepEqual((await asked).detail, 'ended');
  for (const patience = Date.now() + 2000; open.size > 0 && Date.now() < patience; )
    await new Promise((done) => setTimeout(done, 5));
  assert.equal(open.size, 0);
  assert.equal((await ask(tcp(port), { signal: AbortSignal.abort() })).ok, false);
});

test('http: request as asked for, status, redirects, silence', async () => {
  const seen: string[] = [];
  const port = await httpServer((request, response) => {
    const { method, url, headers } = request;
    seen.push(`${method} ${url} ${headers.host} ${headers.connection}`);
    if (url === '/moved') response.writeHead(302, { location: '/' }).end();
    else if (url === '/sick') response.writeHead(503).end('no');
    else if (url === '/slow') response.writeHead(200).write('a');
    else if (url === '/teapot') response.writeHead(418).end();
    else if (url !== '/silent') response.end('hello');
  });
  await says(http(port), true, 'HTTP 200');
  await says(http(port, { path: '/a?b=c', host: 'www.example.org', method: 'POST' }), true, 'HTTP 200');
  assert.deepEqual(seen, [`GET / 127.0.0.1:${port} close`, 'POST /a?b=c www.example.org close']);
  await says(http(port, { path: '/moved' }), false, 'HTTP 302, wanted 200-299');
  await says(http(port, { path: '/sick' }), false, 'HTTP 503, wanted 200-299');
  const two = [
    { from: 200, to: 299 },
    { from: 418, to: 418 },
  ];
  await says(http(port, { path: '/teapot', status: two }), true, 'HTTP 418');
  await says(http(port, { path: '/moved', status: two }), false, 'HTTP 302, wanted 200-299, 418');
  await says(http(port, { path: '/silent' }), false, 'no answer within 0.15 s', { timeout: 150 });
  // Without a body to look at, the status is the answer.
  await says(http(port, { path: '/slow' }), true, 'HTTP 200', { timeout: 500 });
  await says(http(port, { path: '/slow', body: { contains: 'b' } }), false, 'no answer within 0.15 s', { timeout: 150 });
  await says(http(port, { method: 'HEAD' }), true, 'HTTP 200');
  await says(http(await closedPort()), false, 'connection refused');
});

test('http: bodies that are right, wrong, huge, cut, and a pattern that would never end', async () => {
  const port = await httpServer((request, response) => {
    switch (request.url) {
      case '/huge':
        response.write('alive');
        response.on('error', () => {});
        // Never ends: who reads on is lost.
        (function more() {
          while (!response.destroyed && response.write(Buffer.alloc(16384, 'x')));
          response.once('drain', more);
        })();
        break;
      case '/late':
        response.end(`${'x'.repeat(65_536)}alive`);
        break;
      case '/cut':
        response.writeHead(200, { 'content-length': '100' }).write('alive');
        setTimeout(() => response.destroy(), 20);
        break;
      case '/a':
        response.end(`${'a'.repeat(30_000)}b`);
        break;
      default:
        response.end('I am alive, Grüße');
    }
  });
  const wants = (path: string, body: HttpCheckSpec['body']) => http(port, { path, body });
  await says(wants('/', { contains: 'alive' }), true, 'HTTP 200, the body is as wanted');
  await says(wants('/', { contains: 'Grüße' }), true, /as wanted/);
  await says(wants('/', { contains: 'dead' }), false, 'HTTP 200, but the body does not contain "dead"');
  await says(wants('/', { matches: '^I am (alive|well)' }), true, /as wanted/);
  await says(wants('/', { matches: '^alive' }), false, 'HTTP 200, but the body does not match /^alive/');
  await says(wants('/huge', { contains: 'alive' }), true, /as wanted/);
  await says(wants('/huge', { contains: 'dead' }), false, /does not contain/);
  await says(wants('/late', { contains: 'alive' }), false, /does not contain/);
  await says(wants('/cut', { contains: 'alive' }), false, 'connection closed before the end of the answer');
  const began = Date.now();
  await says(wants('/a', { matches: '(a+)+$' }), false, 'HTTP 200, but the pattern /(a+)+$/ took longer than 50 ms');
  assert.ok(Date.now() - began < 1000, `${Date.now() - began} ms`);
});

test('http: what is no HTTP, closes early, or says too much in its headers', async () => {
  const answers = (text: string) => tcpServer((socket) => socket.on('data', () => socket.end(text)));
  await says(http(await answers('SSH-2.0-x\r\n')), false, /^the answer is not HTTP: /);
  await says(http(await answers('')), false, 'connection closed before the answer');
  await says(http(await answers(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`)), false, /^the answer is not HTTP: /);
  await says(
    http(await answers('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n')),
    false,
    /upgrade|not HTTP/,
  );
  await says(http(await answers('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n')), true, 'HTTP 200');
  await says(http(await tcpServer((socket) => socket.resetAndDestroy())), false, /^connection (reset|closed before the answer)$/);
});

const folder = mkdtempSync(join(tmpdir(), 'gue-director-checks-'));
after(() => rmSync(folder, { recursive: true }));
const pem = (name: string) => join(folder, name);

/** A root, and certificates of it: for www.example.org and 127.0.0.1, for another name, and for a client. */
function certify(): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=ca');
  const issue = (name: string, names: string) =>
    openssl(
      ...['req', '-x509', ...key, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-keyout', `${name}.key`, '-out', `${name}.pem`],
      ...['-subj', `/CN=${name}`, '-addext', `subjectAltName=${names}`, '-addext', 'basicConstraints=critical,CA:FALSE'],
    );
  issue('right', 'DNS:www.example.org,IP:127.0.0.1');
  issue('other', 'DNS:www.example.com');
  issue('client', 'DNS:director');
}

test('https: verified or not, by name or address, with a certificate of our own', needs('openssl'), async () => {
  certify();
  const tls = (change: Partial<TlsSpec> = {}): TlsSpec => ({
    verify: true,
    ca: pem('ca.pem'),
    certificate: null,
    key: null,
    serverName: null,
    ...change,
  });
  const https = (port: number, change: Partial<TlsSpec> = {}, host: string | null = null) =>
    http(port, { type: 'https', tls: tls(change), host });
  const serve = (name: string, more = {}) =>
    listening(
      createHttpsServer(
        { cert: readFileSync(pem(`${name}.pem`)), key: readFileSync(pem(`${name}.key`)), ...more },
        (_, response) => response.end('hello'),
      ).on('tlsClientError', () => {}),
    );
  const right = await serve('right');
  await says(https(right), true, 'HTTP 200');
  await says(https(right, {}, 'www.example.org:8443'), true, 'HTTP 200');
  await says(https(right, { serverName: 'www.example.org' }, 'a.example'), true, 'HTTP 200');
  await says(https(right, {}, 'www.example.net'), false, /^certificate for another name: /);
  await says(https(right, { ca: null }), false, /^certificate refused: /);
  await says(https(right, { ca: null, verify: false }), true, 'HTTP 200');
  const other = await serve('other');
  await says(https(other), false, /^certificate for another name: /);
  await says(https(other, { serverName: 'www.example.com' }), true, 'HTTP 200');
  const wary = await serve('right', { requestCert: true, rejectUnauthorized: true, ca: readFileSync(pem('ca.pem')) });
  await says(https(wary), false, /^(TLS failed: |connection (reset|closed before the answer))/);
  await says(https(wary, { certificate: pem('client.pem'), key: pem('client.key') }), true, 'HTTP 200');
  await says(https(await httpServer((_, response) => response.end())), false, /^(TLS failed|connection )/);
  await says(https(await tcpServer(() => {})), false, 'no answer within 0.15 s', { timeout: 150 });
  // What is missing on our side says nothing about the worker.
  await assert.rejects(ask(https(right, { ca: pem('none.pem') })), (error: CodedError) => error.code === 'GD_HEALTH_TLS_FILE');
  await assert.rejects(ask(https(right, { ca: pem('ca.key'), certificate: pem('ca.key'), key: pem('ca.pem') })), CodedError);
});

test('files that are of no use any more: what they held before goes on being used, and that is told', needs('openssl'), () => {
  certify();
  const files = ['renewed.pem', 'renewed.key'].map(pem);
  const renew = () => {
    for (const file of files) copyFileSync(file.replace('renewed', 'client'), file);
  };
  renew();
  const told: string[] = [];
  const tls: TlsSpec = { verify: true, ca: pem('ca.pem'), certificate: files[0], key: files[1], serverName: null };
  const read = new TlsFiles(tls, ({ code }) => told.push(code));
  const first = read.context(0);
  assert.equal(read.context(59_999), first);
  assert.notEqual(read.context(60_000), first);
  const last = read.context(60_001);
  writeFileSync(files[0], readFileSync(files[0]).subarray(0, 99));
  assert.equal(read.context(120_000), last);
  assert.equal(read.context(124_999), last);
  assert.deepEqual(told, ['GD_HEALTH_TLS_FILE']);
  rmSync(files[1]);
  assert.equal(read.context(125_000), last);
  assert.equal(told.length, 2);
  assert.deepEqual(
    tlsObjections({ ...tls, ca: pem('ca.key') }).map(([key]) => key),
    ['ca', 'key'],
  );
  renew();
  assert.deepEqual(tlsObjections(tls), []);
  assert.notEqual(read.context(130_000), last);
  assert.equal(told.length, 2);
  assert.throws(() => new TlsFiles({ ...tls, ca: pem('none.pem') }).context(0), /none\.pem: ENOENT/);
});

async function udpServer(answer: (socket: Socket, data: Buffer, port: number) => void): Promise<number> {
  const socket = createSocket('udp4');
  socket.on('message', (data, { port }) => answer(socket, data, port));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  closers.push(() => socket.close());
  return socket.address().port;
}

test('udp: answered, wrong, silent, nobody there', async () => {
  const echo = await udpServer((socket, data, port) => socket.send(`!${data}`, port, '127.0.0.1'));
  await says(udp(echo), true, 'answered');
  await says(udp(echo, { send: bytes('ab'), expect: bytes('!ab') }), true, 'the answer is as wanted');
  await says(udp(echo, { expect: bytes('!?!') }), false, 'the answer is "!?", wanted "!?!"');
  const silent = await udpServer(() => {});
  await says(udp(silent), false, 'no answer within 0.15 s', { timeout: 150 });
  await says(udp(silent, { answer: 'optional' }), true, 'no answer, and none is needed', { timeout: 150 });
  const closed = await closedPort();
  await says(udp(closed), false, 'port unreachable');
  await says(udp(closed, { answer: 'optional' }), false, 'port unreachable');
});

test('dns: response codes, answers that are not ours, silence', async () => {
  const seen: string[] = [];
  const server = await udpServer((socket, data, port) => {
    const type = data.readUInt16BE(data.length - 4);
    seen.push(data.subarray(12, -4).toString('latin1'));
    const answer = Buffer.from(data);
    const reply = () => socket.send(answer, port, '127.0.0.1');
    answer[2] |= 0x80;
    // A: fine. AAAA: no such name. MX: somebody else's identifier. TXT: another question. NS: it could not read the question.
    if (type === 28) answer[3] = 3;
    if (type === 15) answer[0] ^= 1;
    if (type === 16) answer[13] ^= 1;
    if (type === 2) {
      answer[3] = 1;
      answer[5] = 0;
      socket.send(answer.subarray(0, 12), port, '127.0.0.1');
    } else if (type !== 6) reply();
  });
  const dns = (query: 'A' | 'AAAA' | 'MX' | 'TXT' | 'NS' | 'SOA', rcode: 'NOERROR' | 'NXDOMAIN' = 'NOERROR'): CheckSpec => ({
    type: 'dns',
    port: server,
    name: 'www.example.org.',
    query,
    rcode,
  });
  await says(dns('A'), true, 'DNS NOERROR');
  assert.deepEqual(seen, ['\x03www\x07example\x03org\x00']);
  await says(dns('AAAA'), false, 'DNS NXDOMAIN, wanted NOERROR');
  await says(dns('AAAA', 'NXDOMAIN'), true, 'DNS NXDOMAIN');
  await says(dns('NS'), false, 'DNS FORMERR, wanted NOERROR');
  for (const query of ['MX', 'TXT', 'SOA'] as const) await says(dns(query), false, 'no answer within 0.1 s', { timeout: 100 });
});

test('icmp: pings of both families at once', needs('root'), async () => {
  const socket = new EchoSocket();
  const pings = new EchoProbes(socket);
  closers.push(() => socket.close());
  const resources = { ...NOBODY, ping: () => pings.probe() };
  const icmp: CheckSpec = { type: 'icmp' };
  const many = await Promise.all(
    Array.from({ length: 200 }, (_, i) => ask(icmp, { address: i % 2 === 0 ? LOOPBACK : LOOPBACK6, resources })),
  );
  assert.deepEqual(new Set(many.map(({ detail }) => detail)), new Set(['echo reply']));
});
