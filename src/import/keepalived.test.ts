import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { formatPrefix } from '../base/address.ts';
import { parseAnyAddress } from '../config/address.ts';
import { prefixesOfRange } from './address-range.ts';
import { ImportError, type Imported } from './imported.ts';
import { importKeepalived } from './keepalived.ts';
import { alternatives, type Files, matches } from './keepalived-files.ts';
import { readLines } from './keepalived-lines.ts';
import { Problems } from './place.ts';

const NONE: Files = { match: () => [], read: () => '' };

function imported(text: string, files = NONE, configId?: string): Imported {
  return importKeepalived({ config: { text, name: 'a.conf' }, files, ...(configId === undefined ? {} : { configId }) });
}

function problemsOf(text: string): string[] {
  try {
    imported(text);
    return [];
  } catch (error) {
    if (!(error instanceof ImportError)) throw error;
    return error.problems.map(({ file, line, column, code }) => `${file}:${line}:${column} ${code}`);
  }
}

/** A service around statements of its own and of its one server. */
const service = (own: string, server: string) =>
  `virtual_server 192.0.2.1 80 {\nprotocol TCP\n${own}\nreal_server 198.51.100.1 80 {\n${server}\n}\n}\n`;

function checksOf(server: string, own = ''): string[] {
  return imported(service(own, server))
    .plan.pools.flatMap(({ health }) => health?.checks ?? [])
    .map(({ keys }) => keys.map(([key, value]) => `${key} ${value}`).join(' '));
}

test('checks: what each checker becomes', () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['TCP_CHECK { }', ['type tcp port 80']],
    ['TCP_CHECK {\nconnect_port 8080\n}', ['type tcp port 8080']],
    ['PING_CHECK { }', ['type icmp']],
    ['SMTP_CHECK {\nhost {\nconnect_port 25\n}\n}', ['type tcp port 25 expect "220"']],
    ['DNS_CHECK { }', ['type dns port 80 name "." query SOA']],
    ['DNS_CHECK {\ntype a\nname example.com\n}', ['type dns port 80 name example.com query A']],
    ['UDP_CHECK {\npayload Ab12f 3 456 546443123\nrequire_reply\n}', ['type udp port 80 send-hex "ab120f0345065464431203"']],
    ['UDP_CHECK {\npayload 00\nrequire_reply 0a X0\n}', ['type udp port 80 send-hex "00" expect-hex "0a"']],
    ['MISC_CHECK {\nmisc_path /bin/true\n}', []],
    ['HTTP_GET {\nurl {\npath /\n}\nurl {\npath /b\n}\n}', ['type http port 80', 'type http port 80 path /b']],
    ['HTTP_GET {\nurl {\npath "/a b"\nstatus_code 200-299 404\n}\n}', ['type http port 80 path "/a%20b" status [200-299, 404]']],
    ['HTTP_GET {\nurl {\npath /\nregex "a(?<!b)c"\n}\n}', ['type http port 80 body { matches: "a(?<!b)c" }']],
    ['HTTP_GET {\nurl {\npath /\nregex "(?i)a"\n}\n}', ['type http port 80']],
    ['SSL_GET {\nurl {\npath /\nvirtualhost a.example\n}\n}', ['type https port 80 host a.example verify false']],
  ];
  for (const [server, wanted] of cases) assert.deepEqual(checksOf(server), wanted, server);
});

test('times and minimum: from the virtual server to the checker, the innermost wins', () => {
  const own = 'delay_loop 4\nconnect_timeout 3\nretry 2\nquorum 1\nalpha';
  const { health } = imported(service(own, 'delay_loop 2.5\nTCP_CHECK {\nconnect_timeout 1\n}')).plan.pools[0];
  assert.ok(health !== null);
  const { interval, timeout, fall, initial, minimum } = health;
  assert.deepEqual(
    { interval, timeout, fall, initial, minimum },
    { interval: 2.5, timeout: 1, fall: 3, initial: 'down', minimum: 1 },
  );
  const cut = imported(service('delay_loop 2', 'TCP_CHECK { }')).plan.pools[0].health;
  assert.deepEqual([cut?.interval, cut?.timeout], [2, 2]);
});

test('braces, quotation marks, words and values: each problem at its place', () => {
  const good = service('lb_kind DR', 'weight 1');
  const cases: readonly (readonly [string, readonly string[]])[] = [
    [good, []],
    [good.replace(/\}\n$/, ''), ['a.conf:1:29 GD_IMPORT_BRACES']],
    [`${good}}`, ['a.conf:8:1 GD_IMPORT_BRACES']],
    [`{\n}\n${good}`, ['a.conf:1:1 GD_IMPORT_BRACES']],
    [`${good.replace(/\}\n$/, '')}virtual_server 192.0.2.2 80 {\n}\n`, ['a.conf:1:29 GD_IMPORT_BRACES']],
    [good.replace('weight 1', 'weight "1'), ['a.conf:5:8 GD_IMPORT_QUOTE']],
    [good.replace('DR', 'ROUTE'), ['a.conf:3:9 GD_IMPORT_VALUE']],
    [good.replace('DR', 'TUN type gue'), ['a.conf:3:9 GD_IMPORT_SERVER']],
    [good.replace('192.0.2.1', 'www.example.com'), ['a.conf:1:16 GD_IMPORT_ADDRESS']],
    [good.replace('192.0.2.1 80', 'group WEB'), ['a.conf:1:22 GD_IMPORT_GROUP']],
    [`virtual_servers 1 {\n}\n${good}`, ['a.conf:1:1 GD_IMPORT_KEYWORD']],
    [`include none.conf\n${good}`, ['a.conf:1:1 GD_IMPORT_INCLUDE']],
    [`${good}${good}`, ['a.conf:8:1 GD_IMPORT_TWICE']],
    [`~SEQ(A, 1, 3) ${good}`, ['a.conf:1:1 GD_IMPORT_SEQUENCE']],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: keepalived's own.
    ['$A=${A}${A}\n$A\n', ['a.conf:2:1 GD_IMPORT_PARAMETER']],
  ];
  for (const [text, wanted] of cases) assert.deepEqual(problemsOf(text).slice(0, 1), wanted.slice(0, 1), text);
});

test('lines: comments, conditions, parameters of one and many lines', () => {
  const text = [
    '$A=1 # one',
    '$BLOCK= \\',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: keepalived's own.
    '  b ${A} \\',
    '  $A=2 \\',
    '  c $A "# no comment" ! but this',
    'a $A',
    '$BLOCK',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: keepalived's own.
    'd ${UNKNOWN} $A.b ${A}.b ${_HASH}',
    '@x e',
    '@^x f',
    '',
  ].join('\n');
  const problems = new Problems('a.conf');
  const { lines, conditions } = readLines({ text, name: 'a.conf' }, NONE, 'x', problems);
  assert.deepEqual(
    lines.map((line) => `${line.line} ${line.text.trim().replace(/\s+/g, ' ')}`),
    // biome-ignore lint/suspicious/noTemplateCurlyInString: keepalived's own.
    ['6 a 1', '7 b 1', '7 c 2 "# no comment"', '8 d ${UNKNOWN} $A.b 2.b #', '9 e'],
  );
  assert.deepEqual(conditions, []);
  assert.deepEqual(problems.list, []);
  assert.equal(readLines({ text, name: 'a.conf' }, NONE, null, problems).conditions.length, 2);
});

test('includes: patterns and alternatives as glob(3) has them, files in files, and no end of them', () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['*.conf', 'a.conf', true],
    ['*.conf', '.a.conf', false],
    ['.*', '.a', true],
    ['a?c', 'abc', true],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[]]', ']', true],
    ['a*b*c', 'aXbXbXc', true],
    ['a*b*c', 'aXbXbX', false],
    ['a.c', 'abc', false],
  ];
  for (const [pattern, name, wanted] of cases) assert.equal(matches(pattern, name), wanted, `${pattern} ${name}`);
  assert.equal(matches(`${'a*'.repeat(100)}b`, 'a'.repeat(250)), false);
  assert.deepEqual(alternatives('{foo/{,cat,dog},bar}').sort(), ['bar', 'foo/', 'foo/cat', 'foo/dog']);
  const itself: Files = { match: () => ['a.conf', 'a.conf'], read: () => 'include a.conf\n' };
  assert.throws(() => imported('include a.conf\n', itself), ImportError);
});

test('ranges: the fewest prefixes, nothing besides', () => {
  const prefixes = (first: string, last: string) =>
    prefixesOfRange(parseAnyAddress(first).value!, parseAnyAddress(last).value!).map(formatPrefix);
  assert.deepEqual(prefixes('192.0.2.70', '192.0.2.79'), ['192.0.2.70/31', '192.0.2.72/29']);
  assert.deepEqual(prefixes('192.0.2.255', '192.0.3.0'), ['192.0.2.255/32', '192.0.3.0/32']);
  assert.deepEqual(prefixes('0.0.0.0', '255.255.255.255'), ['0.0.0.0/0']);
  assert.deepEqual(prefixes('2001:db8::1', '2001:db8::f').length, 4);
  fc.assert(
    fc.property(fc.nat(2000), fc.nat(2000), (from, size) => {
      const bytes = (value: number) => Uint8Array.of(10, 0, value >> 8, value & 255);
      const list = prefixesOfRange(bytes(from), bytes(from + size));
      assert.equal(
        list.reduce((sum, { length }) => sum + 2 ** (32 - length), 0),
        size + 1,
      );
      assert.deepEqual(list[0].bytes, bytes(from));
    }),
  );
});

/** Pieces of the files of test/import and of the format, thrown together. */
const folder = join(import.meta.dirname, '../../test/import/keepalived');
const texts = readdirSync(folder)
  .filter((name) => name.endsWith('.conf'))
  .sort()
  .map((name) => readFileSync(join(folder, name), 'utf8'));
const words = [
  ...new Set(texts.join('\n').split(/\s+/)),
  '$A',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: keepalived's own.
  '${A}',
  '$A=',
  '\\',
  '"',
  "'",
  '@x',
  '~SEQ(A,1,9)',
  'include *',
  '\0',
  '💥',
];

test('no input ends otherwise than in a configuration that check accepts, or in problems with places; none takes long', () => {
  const itself: Files = { match: (pattern) => (pattern === '*' ? ['b', 'c'] : []), read: () => texts[0] };
  const look = (text: string) => {
    const before = performance.now();
    try {
      const { accepted, problems, yaml } = imported(text, itself, 'x');
      assert.ok(accepted, `${JSON.stringify(problems)}\n${yaml}`);
    } catch (error) {
      if (!(error instanceof ImportError)) throw error;
      assert.ok(error.problems.length <= 21);
      for (const { line, column } of error.problems) assert.ok(line >= 1 && column >= 1);
    }
    assert.ok(performance.now() - before < 2000);
  };
  const noise = fc.array(fc.tuple(fc.constantFrom(...words), fc.constantFrom(' ', '\n', ' {\n', '\n}\n')), { maxLength: 60 });
  fc.assert(
    fc.property(noise, (list) => look(list.flat().join(''))),
    { numRuns: 150 },
  );
  const cut = fc.record({
    text: fc.constantFrom(...texts),
    at: fc.nat(4000),
    gone: fc.nat(40),
    come: fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 20 })),
  });
  fc.assert(
    fc.property(cut, ({ text, at, gone, come }) => {
      const from = at % text.length;
      look(text.slice(0, from) + come + text.slice(from + gone));
    }),
    { numRuns: 150 },
  );
});

test('large files: 1,500 servers, 8,192 services, parameters that double, each within seconds', () => {
  const started = performance.now();
  const servers = Array.from({ length: 1500 }, (_, i) => `real_server 10.${i >> 8}.${i & 255}.1 80 {\nTCP_CHECK { }\n}`).join(
    '\n',
  );
  const { accepted, plan } = imported(`virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_kind DR\n${servers}\n}\n`);
  assert.ok(accepted);
  assert.equal(plan.pools[0].backends.length, 1500);
  const ranges = Array.from({ length: 200 }, (_, i) => `10.${i}.0.1-10.${i}.255.254 80`).join('\n');
  const group = `virtual_server_group G {\n${ranges}\n}\n`;
  const uses = Array.from({ length: 100 }, () => service('', '').replace('192.0.2.1 80', 'group G')).join('');
  assert.deepEqual(problemsOf(group + uses).slice(0, 1), ['a.conf:210:1 GD_IMPORT_SERVICE']);
  const doubling = Array.from({ length: 40 }, (_, i) => `$A${i + 1}=\${A${i}}\${A${i}}`).join('\n');
  assert.deepEqual(problemsOf(`$A0=\n${doubling}\n$A40\n`), ['a.conf:42:1 GD_IMPORT_PARAMETER']);
  assert.ok(performance.now() - started < 15_000);
});
