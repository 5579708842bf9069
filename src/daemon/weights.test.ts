import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inForce, type Layers, NO_LAYERS } from '../control/layers.ts';
import { SnapshotBuilder } from '../pipeline/snapshot.ts';
import type { BackendSpec, Spec } from '../pipeline/spec.ts';
import { weighed } from './weights.ts';

const backend = (name: string, last: number, weight: number): BackendSpec => {
  return { name, address: Uint8Array.of(198, 51, 100, last), weight, state: 'active' };
};
const SPEC: Spec = {
  services: [],
  pools: [
    {
      name: 'p',
      tableSize: 251,
      seed: 0,
      tunnel: { encapsulation: 'gue', port: 6080, source4: Uint8Array.of(203, 0, 113, 1), source6: null, checksum: 'auto' },
      backends: [backend('one', 1, 2), backend('two', 2, 4), backend('out', 3, 5)],
    },
  ],
};

test('while one starts slowly, weights are as configured, and what they count for now stands beside', () => {
  const layers: Layers = {
    ...NO_LAYERS,
    discovered: new Map([['p', [backend('found', 9, 3)]]]),
    health: new Map([
      ['p/two', { serves: true, share: 0.3 }],
      ['p/out', { serves: false, share: 0 }],
    ]),
  };
  const { names } = new SnapshotBuilder().build(inForce(SPEC, layers));
  assert.deepEqual(
    names.backends.map(({ weight }) => weight),
    [200, 120, 1, 300],
    'in force they are scaled',
  );
  assert.deepEqual(
    weighed(names, SPEC, layers).backends.map(({ name, weight, effectiveWeight }) => [name, weight, effectiveWeight]),
    [
      ['one', 2, 2],
      ['two', 4, 1.2],
      ['out', 5, 0],
      ['found', 3, 3],
    ],
  );
});

test('one that is in force and wanted no longer has the weight that is in force', () => {
  const { names } = new SnapshotBuilder().build(SPEC);
  const without = { ...SPEC, pools: [{ ...SPEC.pools[0], backends: [backend('one', 1, 7)] }] };
  assert.deepEqual(
    weighed(names, without, NO_LAYERS).backends.map(({ weight }) => weight),
    [7, 4, 5],
  );
});
