import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { buildTable } from '../maglev-hash/index.ts';
import { buildPoolTable, slotCounts } from './pool-table.ts';
import type { BackendSpec, BackendState, PoolSpec } from './spec.ts';

const TUNNEL = { encapsulation: 'gue', port: 6080, source4: null, source6: null, checksum: 'auto' } as const;

function pool(backends: readonly Partial<BackendSpec>[], tableSize = 1009): PoolSpec {
  return {
    name: 'web',
    tableSize,
    seed: 5,
    tunnel: TUNNEL,
    backends: backends.map((change, i) => ({
      name: `w${i}`,
      address: Uint8Array.of(10, 0, 0, i + 1),
      weight: 1,
      state: 'active',
      ...change,
    })),
  };
}

/** Name of each slot's owner. */
function owners(spec: PoolSpec): string[] {
  const { slots, backends } = buildPoolTable(spec);
  return Array.from(slots, (slot) => backends[slot]?.name ?? '-');
}

const withStates = (spec: PoolSpec, states: readonly BackendState[]): PoolSpec => ({
  ...spec,
  backends: spec.backends.map((backend, i) => ({ ...backend, state: states[i] ?? 'active' })),
});

test('maglev: who is draining or down gives up its own slots, and nobody else any', () => {
  const weights = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 2, maxLength: 8 });
  const states = fc.array(fc.constantFrom<BackendState>('active', 'active', 'draining', 'down'), { maxLength: 8 });
  fc.assert(
    fc.property(weights, states, (drawn, changed) => {
      const whole = pool(drawn.map((weight) => ({ weight })));
      const [before, part] = [owners(whole), withStates(whole, changed)];
      const after = owners(part);
      const takers = new Set(
        part.backends.filter(({ state, weight }) => state === 'active' && weight > 0).map(({ name }) => name),
      );
      for (const [slot, owner] of after.entries()) {
        if (takers.size === 0) assert.equal(owner, '-');
        else if (takers.has(before[slot])) assert.equal(owner, before[slot]);
        else assert.ok(takers.has(owner));
      }
    }),
    { numRuns: 60 },
  );
});

test('maglev: what is given up is divided evenly; with nobody out the table is the plain one', () => {
  const whole = pool(new Array(5).fill({}), 65_537);
  const counts = slotCounts(buildPoolTable(withStates(whole, ['active', 'down'])));
  for (const count of counts) assert.ok(Math.abs(count / (65_537 / 4) - 1) < 0.02, `${counts}`);
  const plain = buildTable(
    whole.backends.map(({ address, weight }) => ({ identity: address, weight })),
    65_537,
    5,
  );
  assert.deepEqual(buildPoolTable(whole).slots, plain);
});
