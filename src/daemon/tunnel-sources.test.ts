import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BackendSpec, Spec } from '../pipeline/spec.ts';
import { resolveTunnelSources } from './tunnel-sources.ts';

function backend(name: string, ...address: number[]): BackendSpec {
  return { name, address: Uint8Array.from(address), weight: 1, state: 'active' };
}

const SIX = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

function specOf(source4: Uint8Array | null, ...backends: BackendSpec[]): Spec {
  const tunnel = { encapsulation: 'gue', port: 6080, source4, source6: null, checksum: 'auto' } as const;
  return { services: [], pools: [{ name: 'front', tableSize: 251, seed: 1, tunnel, backends }] };
}

test('what is missing comes from the route to the first backend of the family', () => {
  const asked: string[] = [];
  const { spec, warnings } = resolveTunnelSources(
    specOf(null, backend('a', 198, 51, 100, 11), backend('b', ...SIX)),
    (address) => {
      asked.push(address.join('.'));
      return address.length === 4 ? Uint8Array.of(198, 51, 100, 1) : Uint8Array.from([...SIX.slice(0, 15), 1]);
    },
  );
  assert.deepEqual([...(spec.pools[0].tunnel.source4 ?? [])], [198, 51, 100, 1]);
  assert.equal(spec.pools[0].tunnel.source6?.at(-1), 1);
  assert.equal(asked.length, 2);
  assert.deepEqual(warnings, []);
});

test('what is configured stays, and a family without backends needs nothing', () => {
  const { spec } = resolveTunnelSources(specOf(Uint8Array.of(198, 51, 100, 77), backend('a', 198, 51, 100, 11)), () => {
    throw new Error('nobody has to be asked');
  });
  assert.deepEqual([...(spec.pools[0].tunnel.source4 ?? [])], [198, 51, 100, 77]);
  assert.equal(spec.pools[0].tunnel.source6, null);
});

test('backends on different ways out are pointed out', () => {
  const { warnings } = resolveTunnelSources(
    specOf(null, backend('a', 198, 51, 100, 11), backend('b', 203, 0, 113, 11)),
    (address) => Uint8Array.of(address[0], address[1], address[2], 1),
  );
  assert.deepEqual(warnings, ['pool front: packets to b would leave from 203.0.113.1, but the pool uses 198.51.100.1']);
});
