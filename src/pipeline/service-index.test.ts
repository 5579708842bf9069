import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { type Prefix, prefixContains } from '../base/address.ts';
import { addressWords, findService4, findService6, flattenPorts, type IndexedService } from './service-index.ts';
import { Snapshot, SnapshotBuilder } from './snapshot.ts';
import type { ServiceSpec } from './spec.ts';

function network(bytes: number[], length: number): Prefix {
  const masked = bytes.map((byte, i) => {
    const bits = Math.max(0, Math.min(8, length - i * 8));
    return byte & ((0xff << (8 - bits)) & 0xff);
  });
  return { bytes: Uint8Array.from(masked), length };
}

function snapshotOf(services: Omit<ServiceSpec, 'affinity' | 'pool'>[]): Int32Array {
  const tunnel = { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'none' } as const;
  const parts = new SnapshotBuilder().build({
    services: services.map((s) => ({ ...s, affinity: '5-tuple', pool: 'p' })),
    pools: [{ name: 'p', tableSize: 7, seed: 0, tunnel, backends: [] }],
  });
  return new Snapshot(parts).words;
}

/** The obvious twin: the rule as a sentence, service by service. */
function slowFind(services: readonly IndexedService[], address: Uint8Array, protocol: number, port: number): number {
  let best: IndexedService | null = null;
  for (const s of services) {
    if (s.protocol !== protocol || port < s.portFrom || port > s.portTo || !prefixContains(s.prefix, address)) continue;
    if (best === null || s.prefix.length > best.prefix.length) best = s;
    else if (s.prefix.length === best.prefix.length && s.portTo - s.portFrom < best.portTo - best.portFrom) best = s;
  }
  return best === null ? -1 : best.service;
}

test('the narrowest port range wins, wherever it starts', () => {
  const prefix = network([192, 0, 2, 1], 32);
  const ranges = [
    [0, 65535],
    [8000, 8999],
    [8443, 8443],
  ];
  const flat = flattenPorts(ranges.map(([portFrom, portTo], service) => ({ prefix, protocol: 6, portFrom, portTo, service })));
  assert.deepEqual(flat, [
    { from: 0, to: 7999, service: 0 },
    { from: 8000, to: 8442, service: 1 },
    { from: 8443, to: 8443, service: 2 },
    { from: 8444, to: 8999, service: 1 },
    { from: 9000, to: 65535, service: 0 },
  ]);
});

test('a port that the longest prefix does not serve falls through to a shorter one', () => {
  const words = snapshotOf([
    { name: 'host', prefix: network([192, 0, 2, 1], 32), protocol: 6, portFrom: 443, portTo: 443 },
    { name: 'net', prefix: network([192, 0, 2, 0], 24), protocol: 6, portFrom: 0, portTo: 65535 },
  ]);
  const [address] = addressWords(Uint8Array.of(192, 0, 2, 1));
  assert.equal(findService4(words, address, 6, 443), 0);
  assert.equal(findService4(words, address, 6, 80), 1);
  assert.equal(findService4(words, address, 17, 80), -1);
  assert.ok(findService4(words, address, 0, 0) >= 0, 'the address itself is known whatever the protocol');
  assert.equal(findService4(words, addressWords(Uint8Array.of(192, 0, 3, 1))[0], 0, 0), -1);
});

const nested = fc.constantFrom([0, 65535], [8000, 8999], [8443, 8443], [80, 80], [0, 1023]);

test('property: lookup equals the rule stated service by service, IPv4 and IPv6', () => {
  const byte = fc.constantFrom(0, 1, 127, 128, 255);
  for (const bytes of [4, 16]) {
    const service = fc.record({
      address: fc.array(byte, { minLength: bytes, maxLength: bytes }),
      length: fc.integer({ min: 1, max: bytes * 8 }),
      protocol: fc.constantFrom(6, 17),
      ports: nested,
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(service, {
          minLength: 1,
          maxLength: 30,
          selector: (s) => `${network(s.address, s.length).bytes}/${s.length}/${s.protocol}/${s.ports}`,
        }),
        fc.array(
          fc.tuple(fc.array(byte, { minLength: bytes, maxLength: bytes }), fc.constantFrom(0, 80, 443, 8443, 8500, 65535)),
        ),
        (drafts, probes) => {
          const services = drafts.map((d, service) => ({
            prefix: network(d.address, d.length),
            protocol: d.protocol,
            portFrom: d.ports[0],
            portTo: d.ports[1],
            service,
          }));
          const words = snapshotOf(services.map((s) => ({ ...s, name: `s${s.service}` })));
          const addresses = [...probes.map(([a]) => a), ...drafts.map((d) => d.address)];
          for (const address of addresses) {
            for (const port of [0, 80, 1023, 8443, 8500, 65535]) {
              for (const protocol of [6, 17]) {
                const raw = Uint8Array.from(address);
                const found =
                  bytes === 4
                    ? findService4(words, addressWords(raw)[0], protocol, port)
                    : findService6(words, new DataView(raw.buffer), 0, protocol, port);
                assert.equal(found, slowFind(services, raw, protocol, port));
              }
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  }
});
