import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ReadinessFacts, readinessOf } from './readiness.ts';

const FACTS: ReadinessFacts = {
  director: [],
  pools: [],
  services: [
    { name: 'web', pool: 'front' },
    { name: 'api', pool: 'front' },
    { name: 'dns', pool: 'names' },
  ],
  backends: [
    { pool: 'front', slots: 0 },
    { pool: 'front', slots: 7 },
    { pool: 'names', slots: 3 },
    { pool: 'spare', slots: 0 },
  ],
};

/** `director: reasons` and each service's that is not ready. */
function words(facts: Partial<ReadinessFacts>): Record<string, readonly string[]> {
  const { director, services } = readinessOf({ ...FACTS, ...facts });
  assert.equal(director.ok, director.reasons.length === 0);
  const all: [string, readonly string[]][] = [['director', director.reasons]];
  for (const [name, { ok, reasons }] of services) {
    assert.equal(ok, reasons.length === 0);
    all.push([name, reasons]);
  }
  return Object.fromEntries(all.filter(([, reasons]) => reasons.length > 0));
}

test('a pool without a backend takes its own services out, and no others', () => {
  assert.deepEqual(words({}), {});
  const none = 'pool front has no serving backend';
  assert.deepEqual(words({ backends: [{ pool: 'names', slots: 3 }] }), { web: [none], api: [none] });
  assert.deepEqual(words({ pools: [{ pool: 'names', reason: 'too few' }] }), { dns: ['too few'] });
});

test('a pool that no service uses is nobody’s business', () => {
  assert.deepEqual(words({ pools: [{ pool: 'spare', reason: 'too few' }] }), {});
});

test('what speaks against the director speaks against every service', () => {
  assert.deepEqual(words({ director: ['draining'], pools: [{ pool: 'names', reason: 'too few' }] }), {
    director: ['draining'],
    web: ['draining'],
    api: ['draining'],
    dns: ['draining', 'too few'],
  });
});

test('when no service is left, neither is the director; every reason is said once', () => {
  assert.deepEqual(words({ backends: [], pools: [{ pool: 'names', reason: 'too few' }] }).director, [
    'pool front has no serving backend',
    'pool names has no serving backend',
    'too few',
  ]);
  assert.deepEqual(words({ services: [], backends: [] }), {});
});
