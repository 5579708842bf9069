import assert from 'node:assert/strict';
import { test } from 'node:test';
import { httpQuestion } from './http-question.ts';

const text = (method: 'GET' | 'POST') =>
  new TextDecoder().decode(httpQuestion({ method, path: '/x', host: null, status: [] }, Uint8Array.of(192, 0, 2, 1), 8080).bytes);

test('a POST says that it has no content, others say nothing of it', () => {
  const lines = ['/x HTTP/1.1', 'Host: 192.0.2.1:8080', 'User-Agent: gue-director', 'Accept: */*'].join('\r\n');
  assert.equal(text('GET'), `GET ${lines}\r\n\r\n`);
  assert.equal(text('POST'), `POST ${lines}\r\nContent-Length: 0\r\n\r\n`);
});
