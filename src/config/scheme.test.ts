import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PoolSpec } from '../pipeline/spec.ts';
import { loadText } from './load.ts';
import { ConfigError } from './problem.ts';

const BACKENDS = 'backends: [{ name: a, address: 198.51.100.1 }, { name: b, address: 198.51.100.2 }]';

function pool(keys: string, port = '443'): PoolSpec {
  const text = `services:
  - { name: web, address: 192.0.2.10, protocol: tcp, port: ${port}, pool: web }
pools: { web: { ${keys}${BACKENDS} } }
tunnel: { source: { ipv4: 203.0.113.1 } }
`;
  return loadText(text, 'f').spec.pools[0];
}

function codes(keys: string, port?: string): string[] {
  try {
    pool(keys, port);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(({ code }) => code);
    throw error;
  }
  return [];
}

test('without a scheme, or with the name of ours, a pool is as it was', () => {
  const plain = pool('');
  assert.deepEqual(plain.scheme, { name: 'maglev' });
  assert.equal(plain.tableSize, 65537);
  assert.deepEqual(pool('scheme: maglev, '), plain);
  assert.deepEqual(pool('scheme: { name: maglev }, '), plain);
});

test('a name alone is the scheme with its defaults, and its usual size', () => {
  const mh = pool('scheme: ipvs-mh, ');
  assert.deepEqual(mh.scheme, { name: 'ipvs-mh', port: false, fallback: false, serverPort: 443 });
  assert.equal(mh.tableSize, 4093);
  assert.deepEqual(pool('scheme: { name: ipvs-mh }, '), mh);
  const katran = pool('scheme: katran, ');
  assert.deepEqual(katran.scheme, { name: 'katran', ring: 'v1', hash: 'flow', maxVips: 512 });
  assert.equal(katran.tableSize, 65537);
  assert.deepEqual(pool('scheme: { name: katran }, '), katran);
});

test('every key of every scheme', () => {
  const mh = pool('table-size: 251, scheme: { name: ipvs-mh, mh-port: true, mh-fallback: true, server-port: 8080 }, ');
  assert.deepEqual(mh.scheme, { name: 'ipvs-mh', port: true, fallback: true, serverPort: 8080 });
  assert.equal(mh.tableSize, 251);
  const katran = pool('table-size: 1009, scheme: { name: katran, ring: v2, hash: both-ports, max-vips: 64 }, ');
  assert.deepEqual(katran.scheme, { name: 'katran', ring: 'v2', hash: 'both-ports', maxVips: 64 });
  assert.equal(katran.tableSize, 1009);
  const keys = 'seed: "000102030405060708090a0b0c0d0e0f", hash-key: "F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF"';
  const glb = pool(
    `scheme: { name: glb, ${keys}, hash-fields: [source-address, source-port], second-hash-fields: [source-address] }, `,
  );
  assert.deepEqual(glb.scheme, {
    name: 'glb',
    seed: Uint8Array.from({ length: 16 }, (_, i) => i),
    hashKey: Uint8Array.from({ length: 16 }, (_, i) => 0xf0 + i),
    fields: ['source-address', 'source-port'],
    secondFields: ['source-address'],
  });
  assert.equal(glb.tableSize, 65536);
  const few = pool(`scheme: { name: glb, ${keys} }, `);
  assert.deepEqual(few.scheme?.name === 'glb' && [few.scheme.fields, few.scheme.secondFields], [['source-address'], []]);
});

test("IPVS's real servers have the port of their service, when there is one such port", () => {
  const port = (ports: string) => {
    const { scheme } = pool('scheme: ipvs-mh, ', ports);
    return scheme?.name === 'ipvs-mh' ? scheme.serverPort : null;
  };
  assert.equal(port('80'), 80);
  assert.equal(port('all'), 0);
  assert.equal(port('[8080]'), 8080);
  assert.deepEqual(codes('scheme: ipvs-mh, ', '[80, 443]'), ['GD_CONFIG_SCHEME_PORT']);
  assert.deepEqual(codes('scheme: ipvs-mh, ', '8000-8999'), ['GD_CONFIG_SCHEME_PORT']);
  assert.deepEqual(codes('scheme: { name: ipvs-mh, server-port: 80 }, ', '[80, 443]'), []);
});

test('sizes are those the peer can have', () => {
  for (const size of [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071]) {
    assert.deepEqual(codes(`table-size: ${size}, scheme: ipvs-mh, `), []);
  }
  assert.deepEqual(codes('table-size: 1009, scheme: ipvs-mh, '), ['GD_CONFIG_SCHEME_SIZE']);
  assert.deepEqual(codes('table-size: 1009, scheme: katran, '), []);
  assert.deepEqual(codes('table-size: 1000, scheme: katran, '), ['GD_CONFIG_TABLE_PRIME']);
});
