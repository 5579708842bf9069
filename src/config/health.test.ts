import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HealthSpec } from '../health/spec.ts';
import { loadText } from './load.ts';

function health(text: string): HealthSpec | undefined {
  const yaml = `
services: [{ name: web, address: 192.0.2.10, protocol: tcp, port: 443, pool: web }]
pools:
  web:
    backends: [{ name: w1, address: 198.51.100.1 }]
${text === '' ? '' : `    health: ${text}`}
tunnel: { source: { ipv4: 203.0.113.1 } }
`;
  return loadText(yaml, '/etc/gd/director.yaml').health.get('web');
}

const checkOf = (check: string) => health(`{ checks: [${check}] }`)?.checks[0];

test('no section, no checks; the defaults', () => {
  assert.equal(health(''), undefined);
  assert.deepEqual(health('{ checks: [{ type: icmp }] }'), {
    checks: [{ type: 'icmp' }],
    interval: 2,
    timeout: 1,
    rise: 2,
    fall: 3,
    jitter: 0.1,
    initial: 'up',
    damping: { halfLife: 60, suppress: 3, reuse: 1, longest: 300 },
    slowStart: 0,
    minimum: { count: 1 },
    belowMinimum: 'keep',
    whenDown: 'move',
    portUnreachable: 'fail',
  });
  const other = health('{ checks: [{ type: icmp }], damping: off, minimum-healthy: 50%, below-minimum: unready }');
  assert.deepEqual([other?.damping, other?.minimum, other?.belowMinimum], [null, { percent: 50 }, 'unready']);
  assert.deepEqual(health('{ checks: [{ type: icmp }], minimum-healthy: 2 }')?.minimum, { count: 2 });
  assert.equal(health('{ checks: [{ type: icmp }], minimum-healthy: 0 }')?.minimum, null);
  assert.equal(health('{ checks: [{ type: icmp }], when-down: keep-flows }')?.whenDown, 'keep-flows');
});

test('what each kind of check becomes', () => {
  assert.deepEqual(checkOf('{ type: tcp, port: 25, send-hex: 0aFF, expect: "220 ü" }'), {
    type: 'tcp',
    port: 25,
    send: Uint8Array.of(0x0a, 0xff),
    expect: new TextEncoder().encode('220 ü'),
  });
  assert.deepEqual(checkOf('{ type: udp, port: 53, send: a }'), {
    type: 'udp',
    port: 53,
    send: Uint8Array.of(0x61),
    expect: null,
    answer: 'required',
  });
  assert.deepEqual(checkOf('{ type: dns, name: example.org }'), {
    type: 'dns',
    port: 53,
    name: 'example.org',
    query: 'A',
    rcode: 'NOERROR',
  });
  const http = { port: 80, method: 'GET', path: '/', host: null, status: [{ from: 200, to: 299 }], body: null };
  assert.deepEqual(checkOf('{ type: http }'), { type: 'http', ...http, tls: null });
  assert.deepEqual(checkOf('{ type: https, ca: tls/ca.pem, status: [204, "300-308"], body: { matches: "^ok$" } }'), {
    type: 'https',
    ...http,
    port: 443,
    status: [
      { from: 204, to: 204 },
      { from: 300, to: 308 },
    ],
    body: { matches: '^ok$' },
    tls: { verify: true, ca: '/etc/gd/tls/ca.pem', certificate: null, key: null, serverName: null },
  });
});
