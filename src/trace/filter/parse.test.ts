import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CodedError } from '../../base/errors.ts';
import { tryFilter } from './compile.ts';
import type { Expression } from './expression.ts';
import { parseFilter } from './parse.ts';

const port = (number: number): Expression => ({ is: 'port', side: 'either', from: number, to: number });
const tcp: Expression = { is: 'protocol', family: 0, number: 6 };

test('words bind as in tcpdump: not first, and and or alike from left to right', () => {
  const [a, b, c] = [port(1), port(2), port(3)];
  assert.deepEqual(parseFilter('port 1 or port 2 and port 3'), { is: 'and', terms: [{ is: 'or', terms: [a, b] }, c] });
  assert.deepEqual(parseFilter('not port 1 and port 2'), { is: 'and', terms: [{ is: 'not', term: a }, b] });
  assert.deepEqual(parseFilter('!(port 1 || port 2) && port 3'), {
    is: 'and',
    terms: [{ is: 'not', term: { is: 'or', terms: [a, b] } }, c],
  });
  assert.deepEqual(parseFilter('  '), { is: 'all' });
});

test('a value alone takes the words before the last one', () => {
  const both = (term: Expression): Expression => ({ is: 'and', terms: [tcp, term] });
  assert.deepEqual(parseFilter('tcp port 80 or 443'), { is: 'or', terms: [both(port(80)), both(port(443))] });
  assert.deepEqual(parseFilter('src host 192.0.2.1 or 192.0.2.2'), parseFilter('src host 192.0.2.1 or src host 192.0.2.2'));
  assert.deepEqual(parseFilter('192.0.2.1'), parseFilter('host 192.0.2.1'));
  assert.deepEqual(parseFilter('service web or api'), parseFilter('service web or service api'));
});

test('directions, networks, flags and our own words', () => {
  assert.deepEqual(parseFilter('src or dst port 5'), port(5));
  assert.deepEqual(parseFilter('src and dst net 2001:db8::/36'), {
    is: 'and',
    terms: ['src', 'dst'].map((side) => ({
      is: 'address',
      side,
      family: 6,
      words: [0x20010db8, 0, 0, 0],
      masks: [-1, -0x10000000, 0, 0],
    })),
  });
  assert.deepEqual(parseFilter('tcp[tcpflags] & (tcp-syn|tcp-ack) = 0x02'), { is: 'flags', mask: 18, test: '==', value: 2 });
  assert.deepEqual(parseFilter('tcp[13]!=0'), { is: 'flags', mask: 255, test: '!=', value: 0 });
  assert.deepEqual(parseFilter('backend web/w-1 and drop too-big'), {
    is: 'and',
    terms: [
      { is: 'backend', pool: 'web', name: 'w-1' },
      { is: 'drop', reason: 'too-big' },
    ],
  });
});

const WRONG: readonly (readonly [string, number, RegExp, RegExp])[] = [
  ['port https', 6, /"https" is no port/, /port 443/],
  ['port 80 443', 9, /"443" stands where and, or/, /joined by and/],
  ['host example.org', 6, /names are not resolved/, /host 192\.0\.2\.7/],
  ['host 10.0.0.0/8', 6, /is a network/, /net 10\.0\.0\.0\/8/],
  ['net 10.0.0.1/8', 5, /bits behind its prefix/, /write the network itself/],
  ['net 10.0.0.0/40', 5, /no prefix length/, /0 to 32/],
  ['(tcp or udp', 1, /"\(" is not closed/, /add "\)"/],
  ['tcp)', 4, /closes nothing/, /parentheses/],
  ['tcp and', 8, /the filter ends/, /words about the packet/],
  ['srv web', 1, /"srv" is no word/, /service, pool/],
  ['verdict lost', 9, /no verdict/, /forward/],
  ['drop nothing', 6, /no drop reason/, /drop-reasons\.md/],
  ['backend a/b/c', 9, /no backend/, /POOL\/NAME/],
  ['tcp[12] & 1 != 0', 5, /only tcp\[tcpflags\]/, /shorter: syn/],
  ['tcp[tcpflags] & tcp-sin != 0', 17, /no TCP flag/, /tcp-syn/],
  ['less many', 6, /no number/, /less 1500/],
  ['host 10.0.0.1 ~ udp', 15, /no meaning/, /--help/],
];

test('what can not be read is refused with its column and what to write', () => {
  for (const [filter, column, message, hint] of WRONG) {
    assert.throws(
      () => parseFilter(filter),
      (error: CodedError) =>
        error.code === 'GD_TRACE_FILTER' &&
        error.exitCode === 2 &&
        error.message.startsWith(`filter, column ${column}: `) &&
        message.test(error.message) &&
        hint.test(error.hint),
      filter,
    );
  }
  const long = Array.from({ length: 33 }, (_, k) => `port ${k}`).join(' or ');
  assert.throws(() => parseFilter(long), /more than 32 terms/);
  assert.equal(parseFilter(long.slice(0, long.lastIndexOf(' or '))).is, 'or');
});

test('a word that every object has means nothing, wherever it stands', () => {
  const refused = [
    ...[
      'X',
      'not X',
      '(X)',
      'X 192.0.2.1',
      'X port 80',
      'tcp X',
      'tcp and X',
      'port 80 X port 90',
      'port 80 or X',
      '192.0.2.1 or X',
    ],
    ...[
      'src X',
      'src X 192.0.2.1',
      'src or X 192.0.2.1',
      'src or dst X',
      'tcp dst X 80',
      'src host 192.0.2.1 or X',
      'host X',
      'net X',
    ],
    ...[
      'net 192.0.2.0/X',
      'port X',
      'tcp port X',
      'portrange X',
      'portrange 1-X',
      'proto X',
      'ip proto X',
      'proto \\X',
      'less X',
      'greater X',
    ],
    ...[
      'verdict X',
      'drop X',
      'dropped X',
      'verdict drop or X',
      'tcp[X] & 1 = 1',
      'tcp[13] X 1 = 1',
      'tcp[13] & X = 1',
      'tcp[13] & 1 X 1',
    ],
    ...[
      'tcp[13] & 1 = X',
      'tcp[13] & (X) = 1',
      'tcp[13] & (tcp-syn|X) = 1',
      'tcp[13] & (tcp-syn X tcp-ack) = 1',
      'tcp[13] & 1 = (X)',
    ],
  ];
  const named = ['service X', 'pool X', 'backend X', 'backend X/X', 'service web or X', 'tcp and not service X'];
  for (const word of Object.getOwnPropertyNames(Object.prototype)) {
    for (const filter of refused.map((text) => text.replace('X', word)))
      assert.throws(() => parseFilter(filter), { code: 'GD_TRACE_FILTER' }, filter);
    for (const filter of named.map((text) => text.replaceAll('X', word))) {
      const expression = parseFilter(filter);
      tryFilter(expression);
      assert.deepEqual(structuredClone(expression), expression, filter);
    }
  }
});

test('however deep a filter is written, what comes of it is not', () => {
  assert.deepEqual(parseFilter(`${'!'.repeat(4090)}tcp`), tcp);
  assert.deepEqual(parseFilter(`${'not '.repeat(901)}tcp`), { is: 'not', term: tcp });
  assert.deepEqual(parseFilter('!(!(!(tcp)))'), { is: 'not', term: tcp });
  const nested = (depth: number) => `${'('.repeat(depth)}tcp${')'.repeat(depth)}`;
  assert.deepEqual(parseFilter(nested(64)), tcp);
  assert.throws(() => parseFilter(nested(65)), /column 65: more than 64 parentheses in each other/);
  assert.throws(() => parseFilter(nested(2000)), { code: 'GD_TRACE_FILTER' });
  assert.equal(parseFilter(Array.from({ length: 32 }, () => nested(40)).join(' or ')).is, 'or');
});

test('nothing but whole numbers of an expression becomes source text', () => {
  const wrong = ['1); throw 1; (1', 1.5, Number.NaN, undefined, null, {}, '6'] as unknown as number[];
  for (const value of wrong) {
    const terms = [
      { is: 'flags', mask: value, test: '!=', value: 0 },
      { is: 'flags', mask: 2, test: '!=', value },
      { is: 'flags', mask: 2, test: value, value: 0 },
      { is: 'protocol', family: 0, number: value },
      { is: 'protocol', family: value, number: 6 },
      { is: 'family', family: value },
      { is: 'port', side: 'src', from: value, to: 5 },
      { is: 'port', side: 'either', from: 5, to: value },
      { is: 'length', least: value, most: 5 },
      { is: 'length', least: 5, most: value },
      { is: 'address', side: 'src', family: 4, words: [value], masks: [-1] },
      { is: 'address', side: 'src', family: 4, words: [1], masks: [value] },
    ] as unknown as Expression[];
    for (const term of terms) assert.throws(() => tryFilter(term), RangeError, JSON.stringify(term));
  }
});
