import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip } from '../../test/builder/addresses.ts';
import fc from '../../test/property.ts';
import { katranPort } from '../../test/reference/header-policy.ts';
import * as rules from './source-port.ts';

const int32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
const port = fc.integer({ min: 0, max: 65535 });

function lastWord(address: Uint8Array): number {
  return new DataView(address.buffer, address.byteOffset).getInt32(address.length - 4);
}

test("IPVS's formula: the range of the kernel, exactly", () => {
  fc.assert(
    fc.property(int32, (hash) => {
      const mixed = BigInt.asUintN(32, BigInt(hash) ^ (BigInt(hash) << 16n));
      const expected = Number((mixed * 28231n) >> 32n) + 32768;
      assert.equal(rules.ipvsSourcePort(hash), expected);
    }),
  );
  assert.equal(rules.ipvsSourcePort(0), 32768);
  assert.equal(rules.ipvsSourcePort(-1 << 16), 60998);
});

test("Katran's ports of packets that it has sent", () => {
  const katran = (client: string, clientPort: number, outer: 4 | 6) => {
    const address = ip(client);
    return rules.katranSourcePort(lastWord(address), clientPort, address.length === 4 ? 4 : 6, outer);
  };
  assert.equal(katran('192.168.1.1', 31337, 4), 26747);
  assert.equal(katran('192.168.1.42', 31337, 4), 26704);
  assert.equal(katran('198.51.100.7', 40000, 4), 0x249b);
  assert.equal(katran('192.168.1.1', 31337, 6), 31592);
  assert.equal(katran('192.168.1.42', 31337, 6), 31555);
  assert.equal(katran('198.51.100.7', 40000, 6), 0xf847);
  assert.equal(katran('fc00:2::1', 31337, 6), 31337);
  assert.equal(katran('fc00:2::abcd:1', 31337, 6), 31337 ^ 0xabcd);
});

test("Katran's source addresses of IPIP packets that it has sent", () => {
  const bits = (client: string, outer: 4 | 6) => rules.katranSourceBits(lastWord(ip(client)), 31337, outer) >>> 0;
  // 172.16.104.123, 172.16.104.80; 100::bac1:101, 100::bac1:12a; 100::7a69:1, 100::7a69:42
  assert.equal(bits('192.168.1.1', 4), (104 << 8) | 123);
  assert.equal(bits('192.168.1.42', 4), (104 << 8) | 80);
  assert.equal(bits('192.168.1.1', 6), 0xbac10101);
  assert.equal(bits('192.168.1.42', 6), 0xbac1012a);
  assert.equal(bits('fc00:2::1', 6), 0x7a690001);
  assert.equal(bits('fc00:2::42', 6), 0x7a690042);
});

test('Katran, against the twin that writes bytes', () => {
  const address = fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }));
  fc.assert(
    fc.property(address, port, fc.constantFrom(4 as const, 6 as const), (client, clientPort, outer) => {
      // Katran has no IPv6 in IPv4.
      if (client.length === 16 && outer === 4) return;
      const family = client.length === 4 ? 4 : 6;
      const copy = Uint8Array.from(client);
      assert.equal(rules.katranSourcePort(lastWord(copy), clientPort, family, outer), katranPort(copy, clientPort, outer));
    }),
  );
});

test('source bits spread over any part of them, and have nothing in common with the default port', () => {
  const low = new Int32Array(16);
  const both = new Int32Array(16);
  for (let n = 0; n < 16_000; n++) {
    const hash = Math.imul(n, 0x9e3779b1);
    const bits = rules.sourceBitsOf(hash);
    low[bits & 15]++;
    both[(bits ^ rules.sourcePortOf(hash, 0, 15)) & 15]++;
  }
  for (const count of [...low, ...both]) assert.ok(Math.abs(count - 1000) < 160, `${low} ${both}`);
});
