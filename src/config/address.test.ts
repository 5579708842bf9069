import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { formatAddress, formatPrefix } from '../base/address.ts';
import { parseAnyAddress, parseHostAddress, parsePrefix, prefixesOverlap, withoutHostBits } from './address.ts';

const bytes = fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }));

test('an address and its text are the same address', () => {
  fc.assert(
    fc.property(bytes, (address) => {
      const mapped = address.length === 16 && address.subarray(0, 10).every((byte) => byte === 0) && address[10] === 255;
      fc.pre(!mapped);
      assert.deepEqual(parseAnyAddress(formatAddress(address)).value, address);
    }),
  );
});

test('RFC 4291 §2.2: the forms of IPv6 text', () => {
  const one = Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 8, 8, 0, 0x20, 0xc, 0x41, 0x7a);
  for (const text of ['2001:DB8:0:0:8:800:200C:417A', '2001:db8::8:800:200c:417a', '2001:db8::8:800:32.12.65.122']) {
    assert.deepEqual(parseAnyAddress(text).value, one, text);
  }
});

test('what is no address is refused with a sentence', () => {
  const texts = [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '0x1.2.3.4',
    '1.2.3.4 ',
    'g::',
    '1::2::3',
    '12345::',
    ':',
    ':::',
    '1:2:3',
  ];
  for (const text of [...texts, 'localhost', '[::1]', 'fe80::1%eth0', '1.2.3.4/24', '١.٢.٣.٤']) {
    const { value, refusal } = parseHostAddress(text);
    assert.equal(value, null, text);
    assert.match(refusal?.code ?? '', /^GD_CONFIG_ADDRESS$/, text);
  }
  assert.equal(parseAnyAddress('::ffff:192.0.2.1').refusal?.code, 'GD_CONFIG_ADDRESS_MAPPED');
});

test('no text makes the parsers throw', () => {
  const alphabet = fc.constantFrom(...'0123456789abcdef.:/%[]- ');
  fc.assert(
    fc.property(fc.string({ unit: alphabet, maxLength: 45 }), (text) => {
      for (const { value, refusal } of [parseHostAddress(text), parsePrefix(text)])
        assert.ok((value === null) !== (refusal === null));
    }),
    { numRuns: 2000 },
  );
});

test('a prefix has no host bits; the refusal names the one that was meant', () => {
  fc.assert(
    fc.property(bytes, fc.integer({ min: 8, max: 128 }), (address, wanted) => {
      const length = Math.min(wanted, address.length * 8);
      const prefix = { bytes: withoutHostBits(address, length), length };
      const { value, refusal } = parsePrefix(`${formatAddress(address)}/${length}`);
      if (value !== null) assert.deepEqual(value, prefix);
      else if (refusal.code === 'GD_CONFIG_PREFIX_HOST_BITS')
        assert.ok(refusal.message.endsWith(`did you mean ${formatPrefix(prefix)}?`));
      else assert.match(refusal.code, /KIND|MAPPED/);
    }),
  );
  assert.deepEqual(parsePrefix('192.0.2.1').value, { bytes: Uint8Array.of(192, 0, 2, 1), length: 32 });
});

test('prefixes around or inside a forbidden range are refused', () => {
  for (const text of [
    '0.0.0.0/1',
    '128.0.0.0/1',
    '127.0.0.1',
    '224.0.0.0/4',
    '239.1.2.3',
    '255.255.255.255',
    '::',
    '::1',
    '::/8',
    'fe80::/64',
    'ff02::1',
  ]) {
    assert.equal(parsePrefix(text).refusal?.code, 'GD_CONFIG_ADDRESS_KIND', text);
  }
  for (const text of ['0.0.0.0/0', '::/0']) assert.equal(parsePrefix(text).refusal?.code, 'GD_CONFIG_PREFIX_ALL', text);
  for (const text of ['192.0.2.0/33', '2001:db8::/129', '192.0.2.0/', '192.0.2.0/08', '192.0.2.0/-1', '192.0.2.0/24/24']) {
    assert.equal(parsePrefix(text).refusal?.code, 'GD_CONFIG_PREFIX', text);
  }
});

test('overlap is containment, within one family', () => {
  const overlap = (a: string, b: string) => prefixesOverlap(parsePrefix(a).value!, parsePrefix(b).value!);
  assert.ok(overlap('192.0.2.0/24', '192.0.2.128/25') && overlap('192.0.2.128/25', '192.0.2.0/24'));
  assert.ok(!overlap('192.0.2.0/25', '192.0.2.128/25'));
  assert.ok(!overlap('32.1.13.184/32', '2001:db8::/32'));
});
