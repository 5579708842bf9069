// Keys of a tunnel without effect are warned of where they stand, and only when nothing uses them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadText } from './load.ts';

/** Paths of the warnings about keys without effect. */
function unused(defaults: string, one: string, two = '', backend = ''): string[] {
  const { warnings } = loadText(
    `
services:
  - { name: a, address: 192.0.2.10, protocol: tcp, port: 443, pool: one }
  - { name: b, address: 192.0.2.11, protocol: tcp, port: 443, pool: two }
pools:
  one: { tunnel: { ${one} }, backends: [{ name: a, address: 198.51.100.1, tunnel: { ${backend} } }] }
  two: { tunnel: { ${two} }, backends: [{ name: a, address: 198.51.100.2 }] }
tunnel: { source: { ipv4: 203.0.113.1 }, ${defaults} }`,
    'test.yaml',
  );
  return warnings.filter(({ code }) => code.endsWith('_UNUSED')).map(({ path }) => path);
}

test('identification where DF is always set', () => {
  assert.deepEqual(unused('', 'identification: zero'), ['pools.one.tunnel.identification']);
  assert.deepEqual(unused('df: clear', 'identification: zero'), []);
  assert.deepEqual(unused('', 'headers: katran'), [], 'a profile says what the peer does');
  assert.deepEqual(unused('', 'identification: fresh'), [], 'what holds anyway');
  assert.deepEqual(unused('identification: zero', ''), ['tunnel.identification']);
  assert.deepEqual(unused('identification: zero', 'df: copy'), []);
});

test('UDP ports of tunnels without UDP', () => {
  assert.deepEqual(unused('', 'encapsulation: ipip, source-port: katran'), ['pools.one.tunnel.source-port']);
  assert.deepEqual(unused('encapsulation: gre, port: 7000, source-port: ipvs', ''), ['tunnel.port', 'tunnel.source-port']);
  assert.deepEqual(unused('encapsulation: gre, port: 7000, source-port: ipvs', '', 'encapsulation: gue'), []);
  assert.deepEqual(unused('encapsulation: gre', 'port: 7000'), ['pools.one.tunnel.port']);
  assert.deepEqual(unused('encapsulation: gre', 'port: 7000', '', 'encapsulation: fou'), []);
  assert.deepEqual(unused('', 'encapsulation: ipip, port: 7000'), ['pools.one.tunnel.port'], 'said once');
  assert.deepEqual(unused('port: 7000', 'encapsulation: ipip'), []);
});
