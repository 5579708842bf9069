import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { type SlowScheme, serverIdSlowly } from '../../test/reference/quic.ts';
import { ID_FOUND, readServerId } from './connection-id.ts';
import { quicWord } from './protocol-words.ts';
import { buildServerIds, findServerId } from './server-ids.ts';

const KATRAN = quicWord({ scheme: 'katran' });
const words = new Int32Array(4);

/** Through a view that ends with the packet: a read outside it throws. */
function read(packet: Uint8Array, settings: number): bigint | null {
  const exact = packet.slice();
  if (readServerId(new DataView(exact.buffer), 0, exact.length, settings, words) !== ID_FOUND) return null;
  return words.reduce((value, word) => (value << 32n) | BigInt(word >>> 0), 0n);
}

const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replace(/ /g, ''), 'hex'));

test('QUIC-LB: rotation, server id, nonce; short header and Handshake', () => {
  const settings = quicWord({ scheme: 'quic-lb', rotations: [2], serverIdLength: 3 });
  // 0x5f: rotation 010, then five bits that mean nothing.
  assert.equal(read(bytes('40 5f c0ffee 01020304 0000'), settings), 0xc0ffeen);
  assert.equal(read(bytes('e0 00000001 08 5f c0ffee 01020304 00'), settings), 0xc0ffeen);
  assert.equal(read(bytes('c0 00000001 08 5f c0ffee 01020304 00'), settings), null, 'Initial');
  assert.equal(read(bytes('d0 00000001 08 5f c0ffee 01020304 00'), settings), null, '0-RTT');
  assert.equal(read(bytes('f0 6b3343cf 08 5f c0ffee 01020304 00'), settings), 0xc0ffeen, 'Handshake of version 2');
  assert.equal(read(bytes('d0 6b3343cf 08 5f c0ffee 01020304 00'), settings), null, 'Initial of version 2');
  assert.equal(read(bytes('40 3f c0ffee 01020304 0000'), settings), null, 'another rotation');
  assert.equal(read(bytes('40 ff c0ffee 01020304 0000'), settings), null, 'rotation 7 is not to be routed by');
  assert.equal(read(bytes('e0 00000001 07 5f c0ffee 010203 00'), settings), null, 'a nonce of 3 bytes');
  assert.equal(read(bytes('e0 00000001 08 5f c0ffee 010203'), settings), null, 'ends inside its connection id');
  assert.equal(read(bytes('40 5f c0ffee 010203'), settings), null, 'a short header too short');
});

test('server ids of 15 bytes', () => {
  const settings = quicWord({ scheme: 'quic-lb', rotations: [0], serverIdLength: 15 });
  const id = '0102030405060708090a0b0c0d0e0f';
  assert.equal(read(bytes(`40 00 ${id} 01020304`), settings), BigInt(`0x${id}`));
});

test('Katran: its three versions', () => {
  // Version 1, id 1024 = 0x0400: 01 0000 0100 0000 0000, then six bits of something else.
  assert.equal(read(bytes('40 41 00 3f 00 00 00 00 00'), KATRAN), 1024n);
  assert.equal(read(bytes('40 80 030400 00 00 00 00'), KATRAN), 0x030400n);
  assert.equal(read(bytes('40 c0 ff030400 00 00 00'), KATRAN), 0xff030400n);
  assert.equal(read(bytes('40 00 41 00 3f 00 00 00 00'), KATRAN), null, 'version 0 has no server id');
  assert.equal(read(bytes('40 40 00 3f 00 00 00 00 00'), KATRAN), null, 'id 0 names nobody');
  assert.equal(read(bytes('40 41 00 3f 00 00 00 00'), KATRAN), null, 'seven bytes of connection id');
});

const scheme = fc.oneof(
  fc.constant<SlowScheme>('katran'),
  fc.record({
    rotations: fc.uniqueArray(fc.integer({ min: 0, max: 6 }), { minLength: 1 }),
    serverIdLength: fc.integer({ min: 1, max: 15 }),
  }),
);

test('property: any bytes give what the slow twin gives; nothing is read outside the packet', () => {
  const start = fc.constantFrom(0x00, 0x40, 0x80, 0xc0, 0xd0, 0xe0, 0xf0);
  const version = fc.oneof(fc.constantFrom(0, 1, 0x6b3343cf, 0xff00001d), fc.nat(0xffffffff));
  const long = fc
    .tuple(start, version, fc.integer({ min: 0, max: 40 }), fc.uint8Array({ maxLength: 40 }))
    .map(([first, v, length, rest]) =>
      Uint8Array.of(first, (v >>> 24) & 255, (v >>> 16) & 255, (v >>> 8) & 255, v & 255, length, ...rest),
    );
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 40 }), long), scheme, (packet, slow) => {
      const settings = slow === 'katran' ? KATRAN : quicWord({ scheme: 'quic-lb', ...slow });
      assert.equal(read(packet, settings), serverIdSlowly(packet, slow));
    }),
    { numRuns: 3000 },
  );
});

test('property: a table of server ids answers as a Map does', () => {
  const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((value) => value.map((byte) => byte & 3));
  const key = (pool: number, value: Uint8Array) => `${pool} ${value.join()}`;
  const server = fc.record({ pool: fc.nat(3), serverId: id });
  fc.assert(
    fc.property(
      fc.uniqueArray(server, { maxLength: 60, selector: (s) => key(s.pool, s.serverId) }),
      fc.array(server),
      (servers, others) => {
        const numbered = servers.map((s, backend) => ({ ...s, backend }));
        const { words: table, sizeBits } = buildServerIds(numbered);
        const root = new Int32Array(64 + table.length);
        root.set(table, 64);
        root[22] = table.length === 0 ? 0 : 64;
        root[23] = sizeBits;
        const known = new Map(numbered.map((s) => [key(s.pool, s.serverId), s.backend]));
        for (const { pool, serverId } of [...servers, ...others]) {
          const view = new DataView(serverId.buffer);
          const found = findServerId(root, pool, view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12));
          assert.equal(found, known.get(key(pool, serverId)) ?? -1);
        }
      },
    ),
  );
});
