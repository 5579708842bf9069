import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BackendSpec, Spec } from '../pipeline/spec.ts';
import { inForce, type Layers, NO_LAYERS } from './layers.ts';

function backend(name: string, last: number, more: Partial<BackendSpec> = {}): BackendSpec {
  return { name, address: Uint8Array.of(198, 51, 100, last), weight: 1, state: 'active', ...more };
}

const SPEC: Spec = {
  services: [],
  pools: ['a', 'b'].map((name) => ({
    name,
    tableSize: 251,
    seed: 0,
    tunnel: { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'auto' },
    backends: [backend('w1', 1), backend('w2', 2, { weight: 3 }), backend('w3', 3, { state: 'draining' })],
  })),
};

function states(layers: Partial<Layers>, pool = 0): string[] {
  return inForce(SPEC, { ...NO_LAYERS, ...layers }).pools[pool].backends.map(
    ({ name, state, weight }) => `${name} ${state} ${weight}`,
  );
}

test('without layers everything is as the file says, down to the objects', () => {
  const spec = inForce(SPEC, NO_LAYERS);
  assert.ok(spec.pools.every((pool, i) => pool === SPEC.pools[i]));
});

test('each layer takes away, the worst state wins, and other pools stay the same objects', () => {
  assert.deepEqual(states({ drains: new Map([['a/w1', 'draining']]) }), ['w1 draining 1', 'w2 active 3', 'w3 draining 1']);
  const health = new Map([
    ['a/w1', { serves: false, share: 1 }],
    ['a/w3', { serves: true, share: 1 }],
  ]);
  const layers = { ...NO_LAYERS, drains: new Map([['a/w1', 'draining' as const]]), health };
  assert.deepEqual(states(layers), ['w1 down 1', 'w2 active 3', 'w3 draining 1']);
  assert.equal(inForce(SPEC, layers).pools[1], SPEC.pools[1]);
});

test('a backend that is down and keeps its flows is in force as draining; a drain that has ended is the worse', () => {
  const health = new Map([['a/w2', { serves: false, share: 0, keepsFlows: true }]]);
  assert.deepEqual(states({ health }), ['w1 active 1', 'w2 draining 3', 'w3 draining 1']);
  assert.deepEqual(states({ health, drains: new Map([['a/w2', 'down']]) })[1], 'w2 down 3');
  const moved = new Map([['a/w2', { serves: false, share: 0, keepsFlows: false }]]);
  assert.deepEqual(states({ health: moved })[1], 'w2 down 3');
});

test('found backends join the pool, and the other layers apply to them too', () => {
  const discovered = new Map([['b', [backend('w9', 9)]]]);
  const layers = { discovered, drains: new Map([['b/w9', 'down' as const]]) };
  assert.deepEqual(states(layers, 1), ['w1 active 1', 'w2 active 3', 'w3 draining 1', 'w9 down 1']);
});

test('a slow start takes a share of the weight, relative to the others', () => {
  const health = new Map([['a/w2', { serves: true, share: 0.5 }]]);
  assert.deepEqual(states({ health }), ['w1 active 100', 'w2 active 150', 'w3 draining 100']);
});

test('the greatest weight is not exceeded, and nobody who starts gets nothing', () => {
  const heavy: Spec = {
    services: [],
    pools: [
      { ...SPEC.pools[0], backends: [backend('w1', 1, { weight: 65_535 }), backend('w2', 2, { weight: 0 }), backend('w3', 3)] },
    ],
  };
  const health = new Map([['a/w3', { serves: true, share: 0.001 }]]);
  const weights = inForce(heavy, { ...NO_LAYERS, health }).pools[0].backends.map(({ weight }) => weight);
  assert.deepEqual(weights, [65_535, 0, 1]);
});
