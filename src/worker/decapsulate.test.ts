import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createDecapsulated, decapsulate, REFUSALS } from './decapsulate.ts';

/** 20 bytes of IPv4 header and 8 of payload. */
const inner4 = [0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4, 0, 8, 0, 0];
/** 40 bytes of IPv6 header and 4 of payload. */
const inner6 = [0x60, 0, 0, 0, 0, 4, 59, 64, ...Array(32).fill(1), 9, 9, 9, 9];
const gue = (protocol: number, words = 0) => [words, protocol, 0, 0, ...Array(words * 4).fill(0xee)];

function read(payload: number[]): { word: string; at: number; length: number; family: number } {
  // The payload lies in the middle of a buffer, with hostile bytes around it.
  const bytes = new Uint8Array(payload.length + 64).fill(0xff);
  bytes.set(payload, 32);
  const out = createDecapsulated();
  const good = decapsulate(bytes, 32, payload.length, out);
  assert.equal(good, out.refusal === 0);
  return { word: REFUSALS[out.refusal], at: out.innerAt - 32, length: out.innerLength, family: out.family };
}

test('unwraps IPv4 and IPv6', () => {
  assert.deepEqual(read([...gue(4), ...inner4]), { word: 'none', at: 4, length: 28, family: 4 });
  assert.deepEqual(read([...gue(41), ...inner6]), { word: 'none', at: 4, length: 44, family: 6 });
});

test('skips private data and cuts bytes behind the inner packet', () => {
  assert.deepEqual(read([...gue(4, 3), ...inner4, 0, 0, 0]), { word: 'none', at: 16, length: 28, family: 4 });
  assert.deepEqual(read([...gue(41, 31), ...inner6, 7]), { word: 'none', at: 128, length: 44, family: 6 });
});

const patched = (payload: number[], at: number, value: number) => payload.with(at, value);
const good4 = [...gue(4), ...inner4];
const refused: [string, string, number[]][] = [
  ['an empty datagram', 'truncated', []],
  ['three bytes', 'truncated', [0, 4, 0]],
  ['a header alone', 'truncated', gue(4)],
  ['19 bytes of IPv4', 'truncated', [...gue(4), ...inner4.slice(0, 19)]],
  ['39 bytes of IPv6', 'truncated', [...gue(41), ...inner6.slice(0, 39)]],
  ['variant 1 (bare IPv4)', 'gue-variant', inner4],
  ['variant 1 (bare IPv6)', 'gue-variant', inner6],
  ['a control message', 'gue-control', patched(good4, 0, 0x20)],
  ['a header longer than the datagram', 'gue-header-length', patched(good4, 0, 31)],
  ['a flag in the first byte', 'gue-flags', patched(good4, 2, 0x80)],
  ['a flag in the second byte', 'gue-flags', patched(good4, 3, 1)],
  ['protocol 17', 'gue-protocol', patched(good4, 1, 17)],
  ['protocol 59', 'gue-protocol', patched(good4, 1, 59)],
  ['IPv4 announced as IPv6', 'truncated', patched(good4, 1, 41)],
  ['IPv6 announced as IPv4', 'inner-version', [...gue(4), ...inner6]],
  ['a long IPv4 packet announced as IPv6', 'inner-version', [...gue(41), ...inner4, ...Array(20).fill(0)]],
  ['IPv4 header length 16', 'inner-length', patched(good4, 4, 0x44)],
  ['IPv4 total length below its header', 'inner-length', patched(good4, 7, 19)],
  ['IPv4 total length one too long', 'inner-length', patched(good4, 7, 29)],
  ['IPv6 payload length one too long', 'inner-length', patched([...gue(41), ...inner6], 9, 5)],
];
for (const [what, word, payload] of refused) test(`refuses ${what}: ${word}`, () => assert.equal(read(payload).word, word));

test('100,000 random datagrams: never an exception, never an inner packet outside its datagram', () => {
  let state = 0x9e3779b9;
  const random = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const bytes = new Uint8Array(256);
  const out = createDecapsulated();
  const seen = new Set<number>();
  for (let round = 0; round < 100_000; round++) {
    for (let i = 0; i < bytes.length; i++) bytes[i] = random();
    const at = random() % 100;
    const length = random() % (bytes.length - at + 1);
    // Three of four begin like a right one, so that the deeper checks are reached.
    if (round % 4 !== 0 && length > 10) bytes.set([random() % 4, [4, 41, 4, 41, 6][round % 5], 0, 0], at);
    if (round % 8 > 3 && length > 10) {
      bytes.set(
        round % 2 === 0 ? [0x45, 0, 0, random() % 128] : [0x60, 0, 0, 0, 0, random() % 128],
        at + 4 + (bytes[at] & 31) * 4,
      );
    }
    if (decapsulate(bytes, at, length, out)) {
      assert.ok(out.innerAt >= at + 4 && out.innerLength >= 20 && out.innerAt + out.innerLength <= at + length);
    }
    seen.add(out.refusal);
  }
  assert.equal(seen.size, REFUSALS.length, 'every refusal and every success was reached');
});

test('whatever is wrapped comes back', () => {
  const inner = fc.record({
    words: fc.integer({ min: 0, max: 31 }),
    six: fc.boolean(),
    body: fc.uint8Array({ maxLength: 1400 }),
  });
  fc.assert(
    fc.property(inner, ({ words, six, body }) => {
      const header = six ? inner6.slice(0, 40) : inner4.slice(0, 20);
      const stated = six ? body.length : 20 + body.length;
      header[six ? 4 : 2] = stated >> 8;
      header[six ? 5 : 3] = stated & 0xff;
      const found = read([...gue(six ? 41 : 4, words), ...header, ...body]);
      assert.deepEqual(found, { word: 'none', at: 4 + words * 4, length: header.length + body.length, family: six ? 6 : 4 });
    }),
  );
});
