import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { loadText } from './load.ts';
import { nearestWord } from './nearest-word.ts';
import { nearestPrimes, primeAtLeast } from './prime.ts';
import { ConfigError, type Problem } from './problem.ts';

const REST = `
pools: { p: { backends: [{ name: a, address: 10.0.0.1 }, { name: b, address: 10.0.0.2 }] } }
tunnel: { source: { ipv4: 10.0.1.1 } }
`;

function problemsOf(text: string): readonly Problem[] {
  try {
    return loadText(text, 'f').warnings;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems;
  }
}

test('services are refused exactly when two port ranges can not be ordered', () => {
  const range = fc
    .tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 6 }))
    .map(([from, more]) => ({ from, to: from + more }));
  type Range = { from: number; to: number };
  const inside = (a: Range, b: Range) => a.from >= b.from && a.to <= b.to;
  const same = (a: Range, b: Range) => a.from === b.from && a.to === b.to;
  const ordered = (a: Range, b: Range) => a.to < b.from || b.to < a.from || (!same(a, b) && (inside(a, b) || inside(b, a)));
  fc.assert(
    fc.property(fc.array(range, { minLength: 1, maxLength: 6 }), (ranges) => {
      const services = ranges.map(
        ({ from, to }, i) => `  - { name: s${i}, address: 192.0.2.1, protocol: tcp, port: ${from}-${to}, pool: p }`,
      );
      const problems = problemsOf(`services:\n${services.join('\n')}${REST}`);
      const clash = ranges.some((a, i) => ranges.some((b, j) => j < i && !ordered(a, b)));
      assert.equal(problems.length > 0, clash);
      for (const problem of problems) assert.equal(problem.code, 'GD_CONFIG_OVERLAP');
    }),
    { numRuns: 500 },
  );
});

test('other prefixes and other protocols never conflict', () => {
  const services = [
    '192.0.2.1, protocol: tcp',
    '192.0.2.1, protocol: udp',
    '192.0.2.0/24, protocol: tcp',
    '"2001:db8::1", protocol: tcp',
  ];
  const lines = services.map((rest, i) => `  - { name: s${i}, address: ${rest}, port: 443, pool: p }`);
  assert.deepEqual(problemsOf(`services:\n${lines.join('\n')}${REST}`), []);
});

test('places follow aliases and count characters, not bytes', () => {
  const text = `services:
  - { name: "é-not-a-name", address: 192.0.2.1, protocol: tcp, port: 1, pool: p }
pools:
  p: &p
    backends: [{ name: a, address: 10.0.0.1, weight: 99999 }]
  q: *p
tunnel: { source: { ipv4: 10.0.1.1 } }
`;
  const places = problemsOf(text).map(({ line, column, path }) => `${line}:${column} ${path}`);
  assert.deepEqual(places, ['2:13 services[0].name', '5:54 pools.p.backends[0].weight', '5:54 pools.q.backends[0].weight']);
});

test('a byte order mark and Windows line ends are no problem; the place is right', () => {
  const text = `\ufeffservices:\r\n  - { name: s, address: 192.0.2.1, protocol: tcp, port: 0, pool: p }\r\n${REST}`;
  assert.deepEqual(
    problemsOf(text).map(({ line, column }) => [line, column]),
    [[2, 57]],
  );
});

test('one wrong backend does not hide the other problems', () => {
  const text = `services:
  - { name: s, address: 10.0.0.0/24, protocol: tcp, port: 1, pool: p }
pools: { p: { backends: [{ name: a, address: nonsense }, { name: b, address: 10.0.0.2 }] } }
tunnel: { source: { ipv4: 10.0.1.1 } }
`;
  assert.deepEqual(
    problemsOf(text).map(({ code }) => code),
    ['GD_CONFIG_ADDRESS', 'GD_CONFIG_LOOP'],
  );
});

test('names that JavaScript gives meaning to are names like any other', () => {
  for (const name of ['constructor', 'toString', 'hasOwnProperty']) {
    const text = `services:\n  - { name: ${name}, address: 192.0.2.1, protocol: tcp, port: 1, pool: p }${REST}`;
    assert.deepEqual(problemsOf(text), []);
    assert.deepEqual(
      problemsOf(text.replace('pool: p ', `pool: ${name} `)).map(({ code }) => code),
      ['GD_CONFIG_UNKNOWN_POOL'],
    );
  }
  for (const text of [`__proto__: { threads: 2 }\nservices: []${REST}`, `services: []${REST.replace('{ p:', '{ __proto__:')}`]) {
    assert.ok(problemsOf(text).some(({ path }) => path.includes('__proto__')));
  }
});

test('no text makes the loader throw anything but a ConfigError', () => {
  const base = `services:\n  - { name: s, address: 192.0.2.1, protocol: tcp, port: 1, pool: p }${REST}`;
  const insert = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ':',
    '- ',
    '&a ',
    '*a',
    '!t ',
    '"',
    "'",
    '\n',
    '\t',
    '|',
    '>',
    '? ',
    '~',
    '%',
    '@',
    '0x',
    '.nan',
    ',',
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: base.length }), insert), { maxLength: 4 }), (edits) => {
      let text = base;
      for (const [at, what] of edits) text = text.slice(0, at) + what + text.slice(at);
      problemsOf(text);
    }),
    { numRuns: 2000 },
  );
  for (const text of ['['.repeat(200_000), `${'a: {'.repeat(50)}`, 'null', '42', 'text', '- 1', '&a [*a]', '{}']) {
    assert.ok(problemsOf(text).length > 0);
  }
});

test('did you mean', () => {
  assert.equal(nearestWord('wieght', ['weight', 'name']), 'weight');
  assert.equal(nearestWord('tableSize', ['table-size', 'seed']), 'table-size');
  assert.equal(nearestWord('colour', ['name', 'port', 'pool']), null);
});

test('primes around a number', () => {
  assert.deepEqual(nearestPrimes(65536, 3, 655373), [65521, 65537]);
  assert.deepEqual(nearestPrimes(65537, 3, 655373), [65537]);
  assert.deepEqual(nearestPrimes(4, 3, 5), [3, 5]);
  assert.equal(primeAtLeast(300, 655373), 307);
  assert.equal(primeAtLeast(1e9, 655373), 655373);
});

test('a backend takes from its pool, and a pool from the defaults, what it does not say of its tunnel', () => {
  const text = `
services: [{ name: s, address: 192.0.2.1, protocol: tcp, port: 80, pool: p }]
pools:
  p:
    tunnel: { port: 7000, checksum: full }
    backends:
      - { name: a, address: 10.0.0.1 }
      - { name: b, address: 10.0.0.2, tunnel: { encapsulation: fou, port-ipv6: 7001 } }
      - { name: c, address: 10.0.0.3, tunnel: { encapsulation: ipip, checksum: none } }
tunnel: { encapsulation: gre, source: { ipv4: 10.0.1.1 } }
`;
  const [pool] = loadText(text, 'f').spec.pools;
  const said = [pool, ...pool.backends].map(({ tunnel }) =>
    tunnel === undefined ? null : [tunnel.encapsulation, tunnel.port, tunnel.port6, tunnel.checksum, tunnel.source4?.join('.')],
  );
  assert.deepEqual(said, [
    ['gre', 7000, undefined, 'full', '10.0.1.1'],
    null,
    ['fou', 7000, 7001, 'full', '10.0.1.1'],
    ['ipip', 7000, undefined, 'none', '10.0.1.1'],
  ]);
});
