import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CodedError } from '../../base/errors.ts';
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
