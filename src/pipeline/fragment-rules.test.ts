import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { type Prefix, prefixContains } from '../base/address.ts';
import { servicesAround } from './fragment-rules.ts';
import type { ServiceSpec } from './spec.ts';

const byte = fc.nat(3);
const prefix = fc
  .tuple(fc.boolean(), byte, byte, fc.constantFrom(0, 1, 2, 7, 8, 9, 16, 31, 32))
  .map(([six, a, b, cut]): Prefix => {
    const bytes = Uint8Array.from(six ? [0xfd, ...new Array<number>(13).fill(0), a, b] : [10, 0, a, b]);
    const length = bytes.length * 8 - cut;
    for (let bit = length; bit < bytes.length * 8; bit++) bytes[bit >> 3] &= ~(0x80 >> (bit & 7));
    return { bytes, length };
  });

test('the services around a prefix are those that one look at each of them finds', () => {
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 12 }), prefix, (prefixes, asked) => {
      const services = prefixes.map((own, n): ServiceSpec => {
        return { name: `s${n}`, prefix: own, protocol: 6, portFrom: 80, portTo: 80, affinity: '5-tuple', pool: 'p' };
      });
      const around = services.filter((one) => one.prefix.length <= asked.length && prefixContains(one.prefix, asked.bytes));
      assert.deepEqual(servicesAround(services)(asked), around);
    }),
  );
});
