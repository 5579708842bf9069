import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { Arena, SMALL_STRIDE } from '../base/arena.ts';
import { recentServices } from './recent-services.ts';
import { findService4, findService6 } from './service-index.ts';
import { Snapshot, SnapshotBuilder } from './snapshot.ts';
import type { ServiceSpec, Spec } from './spec.ts';

const SERVICES: readonly [number[], number, number, number, number][] = [
  [[192, 0, 2, 0], 24, 6, 1, 1000],
  [[192, 0, 2, 1], 32, 6, 443, 443],
  [[192, 0, 2, 1], 32, 17, 443, 443],
  [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 64, 6, 1, 1000],
  [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 128, 17, 443, 443],
];

/** The words of a snapshot with the services in `order`: the same service has another number in another order. */
function wordsOf(order: readonly number[]): Int32Array {
  const services: ServiceSpec[] = order.map((n) => {
    const [bytes, length, protocol, portFrom, portTo] = SERVICES[n];
    const prefix = { bytes: Uint8Array.from(bytes), length };
    return { name: `s${n}`, prefix, protocol, portFrom, portTo, affinity: '5-tuple', pool: 'p' };
  });
  const tunnel = { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'none' } as const;
  const spec: Spec = { services, pools: [{ name: 'p', tableSize: 7, seed: 0, tunnel, backends: [] }] };
  return new Snapshot(new SnapshotBuilder().build(spec, 0)).words;
}

const host = fc.integer({ min: 0, max: 3 });
const protocol = fc.constantFrom(6, 17);
const port = fc.constantFrom(1, 443, 1000, 1001);

test('it answers as the service index does, whatever was asked before', () => {
  const words = wordsOf([0, 1, 2, 3, 4]);
  const recent = recentServices(Arena.inProcess(1, SMALL_STRIDE));
  const view = new DataView(new ArrayBuffer(16));
  view.setInt32(0, 0x20010db8);
  fc.assert(
    fc.property(host, protocol, port, (last, kind, to) => {
      const address = 0xc0000200 | last | 0;
      assert.equal(recent.find4(words, address, kind, to), findService4(words, address, kind, to));
      view.setInt32(12, last);
      assert.equal(recent.find6(words, view, 0, kind, to), findService6(words, view, 0, kind, to));
    }),
    { numRuns: 2000 },
  );
});

test('what it remembers of one snapshot it forgets before the next', () => {
  const recent = recentServices(Arena.inProcess(1, SMALL_STRIDE));
  const address = 0xc0000201 | 0;
  assert.equal(recent.find4(wordsOf([0, 1, 2, 3, 4]), address, 6, 443), 1);
  const next = wordsOf([4, 3, 2, 0]);
  assert.notEqual(findService4(next, address, 6, 443), 1);
  recent.forget();
  assert.equal(recent.find4(next, address, 6, 443), findService4(next, address, 6, 443));
});
