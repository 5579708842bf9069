import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../../test/property.ts';
import { portPrefixes, rulesByPrefix } from './service-rules.ts';

test('a port range is exactly its binary prefixes, thirty at most', () => {
  assert.deepEqual(portPrefixes(0, 65535), [{ port: 0, bits: 0 }]);
  assert.deepEqual(portPrefixes(80, 80), [{ port: 80, bits: 16 }]);
  assert.equal(portPrefixes(1, 65534).length, 30);
  fc.assert(
    fc.property(fc.nat(65535), fc.nat(65535), (a, b) => {
      const from = Math.min(a, b);
      const to = Math.max(a, b);
      let next = from;
      for (const { port, bits } of portPrefixes(from, to)) {
        // In order, without hole or overlap, each at a multiple of its own size.
        const size = 2 ** (16 - bits);
        assert.equal(port, next);
        assert.equal(port % size, 0);
        next += size;
      }
      assert.equal(next, to + 1);
      assert.ok(portPrefixes(from, to).length <= 30);
    }),
  );
});

test('a prefix has the rules of those around it; equal rules are one content', () => {
  const service = (bytes: number[], length: number, protocol: number, port: number) => ({
    prefix: { bytes: Uint8Array.from(bytes), length },
    protocol,
    portFrom: port,
    portTo: port,
  });
  const found = rulesByPrefix([
    service([10, 0, 0, 0], 8, 6, 80),
    service([10, 1, 2, 3], 32, 17, 53),
    service([10, 1, 2, 4], 32, 17, 53),
    service([11, 0, 0, 1], 32, 17, 53),
  ]);
  assert.deepEqual(
    found.map(({ content }) => content),
    ['6:80/16', '17:53/16 6:80/16', '17:53/16 6:80/16', '17:53/16'],
  );
});
