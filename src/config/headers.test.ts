import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { DEFAULT_HEADERS, type TunnelSpec } from '../pipeline/spec.ts';
import { compileHeaders, HEADER_KEYS, PROFILES } from './headers.ts';
import { loadText } from './load.ts';

/** The tunnel of the one pool of a file; both sections as flow maps of YAML. */
function tunnelOf(pool: string, defaults: string): TunnelSpec {
  const text = `
services: [{ name: web, address: 192.0.2.10, protocol: tcp, port: 443, pool: p }]
pools: { p: { table-size: 251, tunnel: { ${pool} }, backends: [{ name: a, address: 10.0.0.1 }] } }
tunnel: { ${defaults} }`;
  return loadText(text, 'test.yaml').spec.pools[0].tunnel;
}

const SOURCE = 'source: { ipv4: 10.0.0.254, ipv6: by-route }';

test('without a word: the default', () => {
  assert.deepEqual(tunnelOf('', SOURCE).headers, DEFAULT_HEADERS);
  assert.deepEqual(compileHeaders([{}, {}]), DEFAULT_HEADERS);
});

test('every key is taken over', () => {
  const keys = 'ttl: 1, dscp: 63, ecn: zero, df: clear, identification: zero, flow-label: hash, source-port: ipvs';
  assert.deepEqual(tunnelOf(keys, SOURCE).headers, {
    ttl: 1,
    dscp: 63,
    ecn: 'zero',
    df: 'clear',
    identification: 'zero',
    flowLabel: 'hash',
    sourcePort: 'ipvs',
  });
});

test('the first section that says anything about a part decides, by its key before its profile', () => {
  assert.deepEqual(tunnelOf('headers: ipvs', `${SOURCE}, ttl: 9, df: clear`).headers, PROFILES.ipvs);
  assert.deepEqual(tunnelOf('headers: ipvs, ttl: 64', `${SOURCE}, ttl: 9`).headers, { ...PROFILES.ipvs, ttl: 64 });
  assert.deepEqual(tunnelOf('dscp: 7', `${SOURCE}, headers: katran, df: set`).headers, {
    ...PROFILES.katran,
    dscp: 7,
    df: 'set',
  });
  assert.deepEqual(tunnelOf('headers: default', `${SOURCE}, headers: katran, df: clear`).headers, DEFAULT_HEADERS);
});

test('sources: an address, a prefix to spread over, by route; inherited one by one', () => {
  const { source4, source6, spread4, spread6, byRoute4, byRoute6 } = tunnelOf('source: { ipv4: 172.16.0.0/12 }', SOURCE);
  assert.deepEqual(source4, Uint8Array.of(172, 16, 0, 0));
  assert.deepEqual([spread4, byRoute4], [20, false]);
  assert.deepEqual([source6, spread6, byRoute6], [null, 0, true]);
  const six = tunnelOf('', 'source: { ipv4: 10.0.0.254/32, ipv6: "100::/64" }');
  assert.deepEqual([six.source4, six.spread4], [Uint8Array.of(10, 0, 0, 254), 0]);
  assert.deepEqual([six.source6?.[0], six.spread6], [1, 32]);
});

test('docs/headers.md has every profile, value by value', () => {
  const page = readFileSync(new URL('../../docs/headers.md', import.meta.url), 'utf8');
  const table = page.slice(page.indexOf('## Profiles'));
  const head = table.split('\n').find((line) => line.startsWith('| `headers`')) ?? '';
  const columns = [...head.matchAll(/`([a-z-]+)`/g)].map((match) => match[1]).slice(1);
  assert.deepEqual(columns, Object.values(HEADER_KEYS));
  for (const [name, profile] of Object.entries(PROFILES)) {
    const row = table.split('\n').find((line) => line.startsWith(`| \`${name}\``)) ?? '';
    const cells = row
      .split('|')
      .slice(2, -1)
      .map((cell) => cell.replaceAll('`', '').trim());
    assert.deepEqual(
      cells,
      Object.keys(HEADER_KEYS).map((part) => String(profile[part as keyof typeof profile])),
      name,
    );
  }
});
