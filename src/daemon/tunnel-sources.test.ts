import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BackendSpec, Spec } from '../pipeline/spec.ts';
import { hasRoutedSources, keepTunnelSources, resolveTunnelSources, routedSources, withSourcesOf } from './tunnel-sources.ts';

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

function byRoute(...backends: BackendSpec[]): Spec {
  const spec = specOf(null, ...backends);
  return { ...spec, pools: spec.pools.map((pool) => ({ ...pool, tunnel: { ...pool.tunnel, byRoute4: true } })) };
}

/** The .1 of each backend's network. */
const nearest = (address: Uint8Array) => Uint8Array.of(address[0], address[1], address[2], 1);

test('by route, each backend has its own, and nobody is warned', () => {
  const { spec, warnings } = resolveTunnelSources(
    byRoute(backend('a', 198, 51, 100, 11), backend('b', 203, 0, 113, 11)),
    nearest,
  );
  assert.deepEqual(
    spec.pools[0].backends.map(({ source }) => source?.join('.')),
    ['198.51.100.1', '203.0.113.1'],
  );
  assert.equal(spec.pools[0].tunnel.source4, null);
  assert.deepEqual(warnings, []);
  assert.ok(hasRoutedSources(spec));
  assert.ok(!hasRoutedSources(specOf(null, backend('a', 198, 51, 100, 11))));
});

test('a backend without a route leaves from where others do until it has one; the others start nonetheless', () => {
  const half = (address: Uint8Array) => {
    if (address[0] === 203) throw new Error('no route');
    return nearest(address);
  };
  const { spec, changes } = routedSources(byRoute(backend('b', 203, 0, 113, 11), backend('a', 198, 51, 100, 11)), half);
  assert.deepEqual(
    spec.pools[0].backends.map(({ source }) => source?.join('.')),
    ['198.51.100.1', '198.51.100.1'],
  );
  assert.deepEqual(changes, []);
  assert.equal(routedSources(spec, half).spec, spec);
  assert.deepEqual(routedSources(spec, nearest).changes, [
    { pool: 'front', backend: 'b', from: '198.51.100.1', to: '203.0.113.1' },
  ]);
});

test('where no backend of a family was ever routed it is an error; one whose route is gone keeps its source', () => {
  const wanted = byRoute(backend('a', 198, 51, 100, 11));
  const lost = () => {
    throw new Error('no route');
  };
  assert.throws(() => routedSources(wanted, lost), /no route/);
  const { spec } = routedSources(wanted, nearest);
  const again = routedSources(spec, lost);
  assert.equal(again.spec, spec);
  assert.deepEqual(again.changes, []);
});

test('what changed is told, and the same spec comes back when nothing did', () => {
  const { spec } = routedSources(byRoute(backend('a', 198, 51, 100, 11), backend('b', 203, 0, 113, 11)), nearest);
  assert.equal(routedSources(spec, nearest).spec, spec);
  const moved = routedSources(spec, (address) => Uint8Array.of(10, 0, 0, address[0] === 203 ? 9 : 1));
  assert.deepEqual(moved.changes, [
    { pool: 'front', backend: 'a', from: '198.51.100.1', to: '10.0.0.1' },
    { pool: 'front', backend: 'b', from: '203.0.113.1', to: '10.0.0.9' },
  ]);
  assert.deepEqual(moved.spec.pools[0].backends[1].source, Uint8Array.of(10, 0, 0, 9));
});

test('a change of layers asks only for who is new; a route that is gone keeps nobody from it', () => {
  const [a, b, c] = [backend('a', 198, 51, 100, 11), backend('b', 203, 0, 113, 11), backend('c', 10, 0, 0, 9)];
  const sources = (spec: Spec) => spec.pools[0].backends.map(({ source }) => source?.join('.'));
  const { spec } = resolveTunnelSources(byRoute(a, b), nearest);
  const asked: string[] = [];
  const only = (address: Uint8Array) => {
    asked.push(address.join('.'));
    return nearest(address);
  };
  const down: BackendSpec = { ...b, state: 'down' };
  assert.deepEqual(sources(keepTunnelSources(byRoute(a, down), spec, only)), ['198.51.100.1', '203.0.113.1']);
  assert.deepEqual(asked, []);
  assert.deepEqual(sources(keepTunnelSources(byRoute(a, down, c), spec, only)), ['198.51.100.1', '203.0.113.1', '10.0.0.1']);
  assert.deepEqual(asked, ['10.0.0.9']);
  // Another address under the same name is another backend.
  assert.deepEqual(sources(keepTunnelSources(byRoute(a, { ...b, address: c.address }), spec, nearest))[1], '10.0.0.1');
  const lost = () => {
    throw new Error('no route');
  };
  assert.deepEqual(sources(keepTunnelSources(byRoute(a, down, c), spec, lost)).at(-1), '198.51.100.1', 'borrowed');
  // By pool: what was chosen stays, and a drain needs no route.
  const chosen = resolveTunnelSources(specOf(null, a, b), nearest).spec;
  const kept = keepTunnelSources(specOf(null, { ...a, state: 'draining' }, b), chosen, lost);
  assert.deepEqual(kept.pools[0].tunnel.source4, Uint8Array.of(198, 51, 100, 1));
  assert.equal(kept.pools[0].backends[0].state, 'draining');
});

test('a reload asks for everybody, and who has no route by then leaves from where it did', () => {
  const { spec } = resolveTunnelSources(byRoute(backend('a', 198, 51, 100, 11), backend('b', 203, 0, 113, 11)), nearest);
  const half = (address: Uint8Array) => {
    if (address[0] === 203) throw new Error('no route');
    return Uint8Array.of(10, 0, 0, 1);
  };
  const wanted = withSourcesOf(byRoute(backend('a', 198, 51, 100, 11), backend('b', 203, 0, 113, 11)), spec);
  assert.deepEqual(
    resolveTunnelSources(wanted, half).spec.pools[0].backends.map(({ source }) => source?.join('.')),
    ['10.0.0.1', '203.0.113.1'],
  );
});
