import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import {
  attribute,
  decodeAttributes,
  decodeError,
  decodeMessages,
  encodeMessage,
  LITTLE_ENDIAN,
  NLA_F_NESTED,
  nested,
  readText,
  readU32,
} from './netlink-message.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('a request has the layout of linux/netlink.h', {
  skip: LITTLE_ENDIAN ? false : 'the expected bytes are little-endian',
}, () => {
  // RTM_NEWLINK, REQUEST|ACK, sequence 7, ifinfomsg of interface 1, IFLA_MTU 65535.
  const fixed = Uint8Array.from([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  const bytes = encodeMessage(16, 0x5, 7, fixed, [attribute(4, 65535)]);
  assert.equal(hex(bytes), `28000000 1000 0500 07000000 00000000 ${hex(fixed)} 0800 0400 ffff0000`.replaceAll(' ', ''));
});

test('attributes are padded, texts end with a zero, nested ones are flagged', () => {
  const bytes = nested(18, attribute(1, 'tun'), attribute(2, Uint8Array.of(9)));
  assert.equal(bytes.length, 4 + 8 + 8);
  const [type] = new Uint16Array(bytes.buffer, 2, 1);
  assert.equal(type, 18 | NLA_F_NESTED);
  const inner = decodeAttributes(decodeAttributes(bytes).get(18) as Uint8Array);
  assert.equal(readText(inner.get(1) as Uint8Array), 'tun');
  assert.deepEqual(inner.get(2), Uint8Array.of(9));
});

test('whatever is encoded is decoded, several messages to a datagram', () => {
  const anAttribute = fc.tuple(fc.integer({ min: 1, max: 0x3fff }), fc.uint8Array({ maxLength: 40 }));
  const aMessage = fc.record({
    type: fc.integer({ min: 16, max: 0xffff }),
    attributes: fc.uniqueArray(anAttribute, { selector: (a) => a[0] }),
  });
  fc.assert(
    fc.property(fc.array(aMessage, { maxLength: 5 }), (messages) => {
      const parts = messages.map(({ type, attributes }, index) =>
        encodeMessage(
          type,
          0,
          index,
          new Uint8Array(12),
          attributes.map(([kind, value]) => attribute(kind, value)),
        ),
      );
      const decoded = decodeMessages(Uint8Array.from(parts.flatMap((part) => [...part])));
      assert.equal(decoded.length, messages.length);
      decoded.forEach(({ type, sequence, body }, index) => {
        assert.equal(type, messages[index].type);
        assert.equal(sequence, index);
        assert.deepEqual(
          [...decodeAttributes(body, 12)].map(([kind, value]) => [kind, [...value]]),
          messages[index].attributes.map(([kind, value]) => [kind, [...value]]),
        );
      });
    }),
    { numRuns: 200 },
  );
});

test('a length that contradicts the bytes is refused, never followed', () => {
  assert.throws(() => decodeMessages(Uint8Array.from([8, 0, 0, 0, ...new Uint8Array(12)])), RangeError);
  assert.throws(() => decodeMessages(Uint8Array.from([200, 0, 0, 0, ...new Uint8Array(12)])), RangeError);
  assert.throws(() => decodeAttributes(Uint8Array.from([0, 0, 1, 0])), RangeError);
  assert.throws(() => decodeAttributes(Uint8Array.from([9, 0, 1, 0, 0, 0, 0, 0])), RangeError);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        for (const { body } of decodeMessages(bytes)) decodeAttributes(body);
      } catch (error) {
        assert.ok(error instanceof RangeError);
      }
    }),
  );
});

test('the kernel gives its reason behind the echoed header, or behind the whole echoed request', () => {
  const reason = attribute(1, 'ipv4: Address already assigned');
  const errno = Int32Array.of(-17);
  const echo = encodeMessage(20, 0, 1, new Uint8Array(8), []);
  const whole = Uint8Array.from([...new Uint8Array(errno.buffer), ...echo, ...reason]);
  const capped = Uint8Array.from([...new Uint8Array(errno.buffer), ...echo.subarray(0, 16), ...reason]);
  const expected = { errno: 17, explanation: 'ipv4: Address already assigned' };
  assert.deepEqual(decodeError({ type: 2, flags: 0x200, sequence: 1, body: whole }), expected);
  assert.deepEqual(decodeError({ type: 2, flags: 0x300, sequence: 1, body: capped }), expected);
  assert.deepEqual(decodeError({ type: 2, flags: 0, sequence: 1, body: whole }), { errno: 17, explanation: '' });
  assert.equal(readU32(attribute(1, 0xfffffffe), 4), 0xfffffffe);
});
