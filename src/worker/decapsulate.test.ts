import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packet as builder } from '../../test/builder/packet.ts';
import fc from '../../test/property.ts';
import { naiveChecksum } from '../../test/reference/checksum.ts';
import { withPartialChecksum } from '../../test/reference/tunnel-writer.ts';
import {
  completeChecksum,
  createDecapsulated,
  decapsulate,
  GRE,
  GUE,
  IPV4,
  IPV6,
  type Payload,
  REFUSALS,
} from './decapsulate.ts';

/** 20 bytes of IPv4 header and 8 of payload. */
const inner4 = [0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4, 0, 8, 0, 0];
/** 40 bytes of IPv6 header and 4 of payload. */
const inner6 = [0x60, 0, 0, 0, 0, 4, 59, 64, ...Array(32).fill(1), 9, 9, 9, 9];
const gue = (protocol: number, words = 0) => [words, protocol, 0, 0, ...Array(words * 4).fill(0xee)];

function read(payload: number[], kind: Payload = GUE): { word: string; at: number; length: number; family: number } {
  // The payload lies in the middle of a buffer, with hostile bytes around it.
  const bytes = new Uint8Array(payload.length + 64).fill(0xff);
  bytes.set(payload, 32);
  const out = createDecapsulated();
  const good = decapsulate(new DataView(bytes.buffer), 32, payload.length, out, kind);
  assert.equal(good, out.refusal === 0);
  return { word: REFUSALS[out.refusal], at: out.innerAt - 32, length: out.innerLength, family: out.family };
}

test('unwraps IPv4 and IPv6', () => {
  assert.deepEqual(read([...gue(4), ...inner4]), { word: 'none', at: 4, length: 28, family: 4 });
  assert.deepEqual(read([...gue(41), ...inner6]), { word: 'none', at: 4, length: 44, family: 6 });
});

test('unwraps GUE variant 1, FOU and IP in IP: the inner packet at once', () => {
  for (const [bytes, kind, length, family] of [
    [inner4, GUE, 28, 4],
    [inner6, GUE, 44, 6],
    [inner4, IPV4, 28, 4],
    [inner6, IPV6, 44, 6],
  ] as const) {
    assert.deepEqual(read([...bytes, 0, 0], kind), { word: 'none', at: 0, length, family });
  }
});

test('unwraps GRE, and verifies its checksum', () => {
  assert.deepEqual(read([0, 0, 8, 0, ...inner4], GRE), { word: 'none', at: 4, length: 28, family: 4 });
  assert.deepEqual(read([0, 0, 0x86, 0xdd, ...inner6], GRE), { word: 'none', at: 4, length: 44, family: 6 });
  const summed = Uint8Array.from([0x80, 0, 0x86, 0xdd, 0, 0, 0, 0, ...inner6, 1, 2, 3]);
  new DataView(summed.buffer).setUint16(4, naiveChecksum(summed, 0, summed.length));
  assert.deepEqual(read([...summed], GRE), { word: 'none', at: 8, length: 44, family: 6 });
  for (let at = 4; at < summed.length; at++) assert.equal(read([...summed].with(at, summed[at] ^ 4), GRE).word, 'gre-checksum');
});

/** GUE with private flags, remote checksum offload and so many words of private data. */
const remote = (start: number, field: number, words = 2, flags = 0x8000) => [
  ...[words, 4, 0, 1, flags >> 8, flags & 0xff, 0, 0, start >> 8, start & 0xff, field >> 8, field & 0xff],
  ...Array((words - 2) * 4).fill(0xee),
];

test('a checksum that was left to the receiver is filled in', () => {
  for (const words of [2, 5]) {
    const { packet, remoteChecksum } = withPartialChecksum(builder().ipv4().udp().payload(33).bytes());
    const whole = builder().ipv4().udp().payload(33).bytes();
    const { start, offset } = remoteChecksum;
    const bytes = Uint8Array.from([...remote(start, offset, words), ...packet, 9, 9]);
    const view = new DataView(bytes.buffer);
    const out = createDecapsulated();
    assert.ok(decapsulate(view, 0, bytes.length, out));
    assert.equal(out.innerAt, 4 + words * 4);
    completeChecksum(view, out);
    assert.deepEqual(bytes.subarray(out.innerAt, out.innerAt + out.innerLength), whole);
    // The next packet has none.
    assert.ok(decapsulate(new DataView(Uint8Array.from([...gue(4), ...whole]).buffer), 0, whole.length + 4, out));
    assert.equal(out.sumFrom, -1);
  }
  // Private flags without any of them set name no field.
  assert.deepEqual(read([...remote(0, 0, 2, 0), ...inner4]), { word: 'none', at: 12, length: 28, family: 4 });
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
  ['variant 2', 'gue-variant', patched(good4, 0, 0x80)],
  ['variant 3', 'gue-variant', patched(good4, 0, 0xc0)],
  ['variant 1 around IP version 5', 'inner-version', patched(inner4, 0, 0x55)],
  ['variant 1 around IP version 7', 'inner-version', patched(inner6, 0, 0x70)],
  ['variant 1 of half an IPv4 header', 'truncated', inner4.slice(0, 10)],
  ['a control message', 'gue-control', patched(good4, 0, 0x20)],
  ['a header longer than the datagram', 'gue-header-length', patched(good4, 0, 31)],
  ['a flag in the first byte', 'gue-flags', patched(good4, 2, 0x80)],
  ['a flag in the second byte', 'gue-flags', patched(good4, 3, 2)],
  ['private flags without room', 'gue-flags', patched(good4, 3, 1)],
  ['private flags that nobody knows', 'gue-flags', [...remote(20, 26, 2, 0xc000), ...inner4]],
  ['a remote checksum without room', 'gue-flags', [1, 4, 0, 1, 0x80, 0, 0, 0, ...inner4]],
  ['a remote checksum from inside the IP header', 'gue-remote-checksum', [...remote(18, 26), ...inner4]],
  ['a remote checksum before its start', 'gue-remote-checksum', [...remote(22, 20), ...inner4]],
  ['a remote checksum with one byte behind the packet', 'gue-remote-checksum', [...remote(20, 27), ...inner4]],
  ['a remote checksum far behind the packet', 'gue-remote-checksum', [...remote(20, 0xffff), ...inner4, 0, 0, 0]],
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

const refusedElsewhere: [string, string, Payload, number[]][] = [
  ['IPv6 on a FOU port of IPv4', 'inner-version', IPV4, inner6],
  ['IPv4 on a FOU port of IPv6', 'truncated', IPV6, inner4],
  ['three bytes of GRE', 'truncated', GRE, [0, 0, 8]],
  ['seven bytes of GRE with a checksum', 'truncated', GRE, [0x80, 0, 8, 0, 0, 0, 0]],
  ['GRE with a key', 'gre-flags', GRE, [0x20, 0, 8, 0, 0, 0, 0, 0, ...inner4]],
  ['GRE version 1', 'gre-flags', GRE, [0, 1, 8, 0, ...inner4]],
  ['GRE around Ethernet', 'gre-protocol', GRE, [0, 0, 0x65, 0x58, ...inner4]],
];
for (const [what, word, kind, payload] of refusedElsewhere) {
  test(`refuses ${what}: ${word}`, () => assert.equal(read(payload, kind).word, word));
}

test('100,000 random datagrams: never an exception, never an inner packet or a checksum outside its datagram', () => {
  let state = 0x9e3779b9;
  const random = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const bytes = new Uint8Array(256);
  const view = new DataView(bytes.buffer);
  const out = createDecapsulated();
  const seen = new Set<number>();
  let completed = 0;
  for (let round = 0; round < 100_000; round++) {
    for (let i = 0; i < bytes.length; i++) bytes[i] = random();
    const kind = ([GUE, GUE, GUE, GRE, IPV4, IPV6] as const)[random() % 6];
    const at = random() % 100;
    const length = random() % (bytes.length - at + 1);
    const ip = () => (random() % 2 === 0 ? [0x45, 0, 0, random() % 128] : [0x60, 0, 0, 0, 0, random() % 128]);
    // Three of four begin like a right one, so that the deeper checks are reached.
    if (round % 4 !== 0 && length > 16) {
      let header = 0;
      if (kind === GUE) {
        const words = random() % 4;
        header = 4 + words * 4;
        bytes.set([words, [4, 41, 4, 41, 6][random() % 5], 0, 0], at);
        if (random() % 3 === 0) bytes.set([0, 1, 0x80, 0, 0, 0, 0, random() % 64, 0, random() % 128], at + 2);
      } else if (kind === GRE) {
        header = 4;
        bytes.set(
          [
            0,
            0,
            ...[
              [8, 0],
              [0x86, 0xdd],
              [0x65, 0x58],
            ][random() % 3],
          ],
          at,
        );
        if (random() % 4 === 0) bytes[at] = 0x80;
      }
      if (round % 8 > 3) bytes.set(ip(), at + header);
    }
    if (decapsulate(view, at, length, out, kind)) {
      assert.ok(out.innerAt >= at && out.innerLength >= 20 && out.innerAt + out.innerLength <= at + length);
      if (out.sumFrom >= 0) {
        completed++;
        assert.ok(out.sumFrom >= out.innerAt + 20 && out.sumField >= 0);
        assert.ok(out.sumFrom + out.sumField + 2 <= out.innerAt + out.innerLength);
      }
    }
    seen.add(out.refusal);
  }
  assert.equal(seen.size, REFUSALS.length, `every refusal and every success was reached, not only ${[...seen]}`);
  assert.ok(completed > 50, `${completed} checksums to fill in`);
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
