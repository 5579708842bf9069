import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseListen } from './listen.ts';
import { formatPorts, parsePorts } from './port.ts';

test('numbers, ranges and all', () => {
  assert.deepEqual(parsePorts(443).value, { from: 443, to: 443 });
  assert.deepEqual(parsePorts('8000-8999').value, { from: 8000, to: 8999 });
  assert.deepEqual(parsePorts('1 - 65535').value, { from: 1, to: 65535 });
  assert.deepEqual(parsePorts('all').value, { from: 0, to: 65535 });
  assert.equal(formatPorts({ from: 0, to: 65535 }), 'all ports');
});

test('everything else is refused', () => {
  for (const port of [0, -1, 65536, 1.5, Number.NaN, '', '443', '0-10', '10-65536', '9-8', '1-2-3', 'ALL', '-5', '1-', '٤٤٣']) {
    assert.equal(parsePorts(port).refusal?.code, 'GD_CONFIG_PORT', String(port));
  }
});

test('listen addresses', () => {
  assert.deepEqual(parseListen('127.0.0.1:6079').value, { host: '127.0.0.1', port: 6079 });
  assert.deepEqual(parseListen('[::1]:0').value, { host: '::1', port: 0 });
  assert.deepEqual(parseListen('off'), { value: null, refusal: null });
  for (const text of [
    '',
    ':6079',
    '6079',
    '127.0.0.1',
    '127.0.0.1:',
    '127.0.0.1:65536',
    '::1:6079',
    '[127.0.0.1]:1',
    'localhost:1',
    'a:b:1',
  ]) {
    assert.equal(parseListen(text).refusal?.code, 'GD_CONFIG_LISTEN', text);
  }
});
