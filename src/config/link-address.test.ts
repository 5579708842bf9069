import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseLinkAddress } from './link-address.ts';

test('a MAC address is six bytes in colons', () => {
  assert.deepEqual(parseLinkAddress('02:00:5e:10:00:Ff'), { value: Uint8Array.of(2, 0, 0x5e, 0x10, 0, 0xff), refusal: null });
});

test('anything else is refused', () => {
  for (const text of [
    '',
    '02:00:5e:10:00',
    '02:00:5e:10:00:01:02',
    '02-00-5e-10-00-01',
    '2:0:5e:10:0:1',
    '01:00:5e:00:00:01',
    '00:00:00:00:00:00',
    'ff:ff:ff:ff:ff:ff',
    ' 02:00:5e:10:00:01',
  ]) {
    const { refusal } = parseLinkAddress(text);
    assert.equal(refusal?.code, 'GD_CONFIG_MAC', text);
  }
});
