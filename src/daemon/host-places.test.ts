import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadText } from '../config/load.ts';
import { refusalOf } from '../control/reloader.ts';
import { refusal } from '../host/checks.ts';
import { placed } from './host-places.ts';

const config = loadText(
  `services:
  - { name: web, address: 192.0.2.1, protocol: tcp, port: 80, pool: a }
  - { name: more, address: [192.0.2.2], protocol: tcp, port: 80, pool: a }
pools: { a: { tunnel: { source: { ipv4: 203.0.113.7 } }, backends: [{ name: w1, address: 198.51.100.1 }] } }
tunnel: { source: { ipv4: 203.0.113.1, ipv6: "2001:db8::0:1" } }
`,
  'x.yaml',
);
const bad = { id: 'x', level: 'error', text: 'no', fix: 'do this' } as const;

test('what the host can not bear is told at its place in the file; what has none, as it was', () => {
  const six = Uint8Array.from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
  const error = refusal([
    { ...bad, service: 'more', exitCode: 78 },
    { ...bad, source: Uint8Array.of(203, 0, 113, 7) },
    { ...bad, source: six },
    { ...bad, source: Uint8Array.of(10, 0, 0, 1) },
    bad,
  ]);
  const { code, exitCode, hint, problems } = refusalOf(placed(error, config));
  assert.deepEqual([code, exitCode, hint], ['GD_HOST_CHECK', 78, 'do this']);
  assert.deepEqual(
    problems.map(({ line, path }) => `${line} ${path}`),
    ['3 services[1].address', '4 pools.a.tunnel.source.ipv4', '5 tunnel.source.ipv6'],
  );
  const nowhere = refusal([bad]);
  assert.equal(placed(nowhere, config), nowhere);
});
