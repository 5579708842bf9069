import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import * as L from './layout.ts';
import { LoopGuard, refuseLoops } from './loop-guard.ts';
import { outerTemplate } from './outer-template.ts';
import { Snapshot, SnapshotBuilder, type SnapshotParts } from './snapshot.ts';
import type { BackendSpec, BackendState, PoolSpec, ServiceSpec, Spec } from './spec.ts';

const TUNNEL = {
  encapsulation: 'gue',
  port: 6080,
  source4: Uint8Array.of(10, 9, 0, 1),
  source6: Uint8Array.from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe]),
  checksum: 'auto',
} as const;
const STATES: readonly BackendState[] = ['active', 'draining', 'down'];

function backend(pool: number, n: number): BackendSpec {
  const six = n % 3 === 2;
  const address = six ? Uint8Array.from([0xfd, 1, ...new Array<number>(12).fill(0), pool, n]) : Uint8Array.of(10, 0, pool, n);
  const serverIds = n % 4 === 1 ? { serverIds: [Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? n : 0))] } : {};
  const tunnel = n % 5 === 4 ? { tunnel: { ...TUNNEL, encapsulation: 'gre' as const, port: 0 } } : {};
  return { name: `w${n}`, address, weight: 1 + (n % 2), state: 'active', ...serverIds, ...tunnel };
}

function pool(n: number, members: readonly number[]): PoolSpec {
  const backends = members.map((one) => backend(n, one));
  return { name: `p${n}`, tableSize: 31, seed: n, tunnel: n % 2 === 0 ? TUNNEL : { ...TUNNEL, checksum: 'remcsum' }, backends };
}

function service(n: number, of: string): ServiceSpec {
  const prefix = { bytes: Uint8Array.of(192, 0, 2, n), length: 32 };
  return { name: `s${n}`, prefix, protocol: 6, portFrom: 80, portTo: 80, affinity: '5-tuple', pool: of };
}

const bytesOf = ({ root, tables }: SnapshotParts) => Buffer.concat([root, ...tables].map((memory) => new Uint8Array(memory)));

/** What a snapshot says, wherever in its root it stands. */
function said(parts: SnapshotParts) {
  const { words, tables } = new Snapshot(parts);
  const count = words[L.H_POOL_COUNT];
  const slotsOf = (at: number, table: number, size: number, members: number) =>
    table < 0 ? null : Array.from(tables[table].subarray(0, words[at + size]), (slot) => words[words[at + members] + slot]);
  const pools = Array.from({ length: count }, (_, i) => {
    const at = words[L.H_POOLS] + i * L.POOL_WORDS;
    const scheme = (place: number) => [...words.subarray(words[at + place], words[at + place] + L.SCHEME_WORDS)];
    return {
      now: slotsOf(at, words[at + L.P_TABLE], L.P_SIZE, L.P_MEMBERS),
      before: slotsOf(at, words[at + L.P_PREVIOUS_TABLE], L.P_PREVIOUS_SIZE, L.P_PREVIOUS_MEMBERS),
      until: [words[at + L.P_PREVIOUS_UNTIL], words[at + L.P_PREVIOUS_UNTIL_OTHERS]],
      seeds: [words[at + L.P_SEED], words[at + L.P_PREVIOUS_SEED]],
      schemes: [words[at + L.P_SCHEME], scheme(L.P_SCHEME_AT), words[at + L.P_PREVIOUS_SCHEME], scheme(L.P_PREVIOUS_SCHEME_AT)],
    };
  });
  const list = (place: number, length: number) => [...words.subarray(words[place], words[place] + length)];
  const serverIds = words[L.H_SERVER_IDS] === 0 ? 0 : 8 * 2 ** (words[L.H_PROTOCOLS] >>> 16);
  return {
    names: parts.names,
    pools,
    backends: list(L.H_BACKENDS, words[L.H_BACKEND_LIMIT] * L.BACKEND_WORDS),
    services: list(L.H_SERVICES, words[L.H_SERVICE_COUNT] * L.SERVICE_WORDS),
    index: list(L.H_INDEX4, (words[L.H_INDEX4_MASK] + 1) * L.INDEX4_WORDS),
    tunnels: list(L.H_TUNNELS, words[L.H_TUNNEL_COUNT] * L.TUNNEL_WORDS),
    serverIds: serverIds === 0 ? [] : list(L.H_SERVER_IDS, serverIds),
    header: [L.H_GENERATION, L.H_PROTOCOLS, L.H_MOST_OVERHEAD, L.H_TUNNEL_EXTRAS, L.H_BACKEND_LIMIT, L.H_MSS_CLAMPS].map(
      (at) => words[at],
    ),
  };
}

type Change = readonly [what: 'state' | 'add' | 'remove' | 'add-pool' | 'remove-pool' | 'services' | 'nothing', number, number];

/** The spec after a change: what it does not touch is the same object. */
function changed(spec: Spec, [what, a, b]: Change): Spec {
  const { pools } = spec;
  const at = a % pools.length;
  const replaced = (one: PoolSpec): Spec => ({ ...spec, pools: pools.map((old, i) => (i === at ? one : old)) });
  const { backends, name } = pools[at];
  const number = Number(name.slice(1));
  if (what === 'state' && backends.length > 0) {
    const which = b % backends.length;
    return replaced({
      ...pools[at],
      backends: backends.map((one, i) => (i === which ? { ...one, state: STATES[(a + b) % 3] } : one)),
    });
  }
  if (what === 'add' && !backends.some((one) => one.name === `w${b}`)) {
    return replaced({ ...pools[at], backends: [...backends, backend(number, b)] });
  }
  if (what === 'remove') return replaced({ ...pools[at], backends: backends.filter((_, i) => i !== b % (backends.length + 1)) });
  if (what === 'add-pool' && !pools.some((one) => one.name === `p${b}`))
    return { ...spec, pools: [pool(b, [1, 2, 3]), ...pools] };
  if (what === 'remove-pool' && pools.length > 2 && !spec.services.some((one) => one.pool === name)) {
    return { ...spec, pools: pools.filter((_, i) => i !== at) };
  }
  if (what === 'services') return { ...spec, services: [service(b, name), service(b + 20, pools[0].name)] };
  return { ...spec };
}

const START: Spec = { services: [service(1, 'p1')], pools: [pool(1, [1, 2, 4]), pool(2, [1, 5, 7]), pool(3, [2])] };
const changes = fc.array(
  fc.tuple(
    fc.constantFrom<Change[0]>('state', 'state', 'add', 'remove', 'add-pool', 'remove-pool', 'services', 'nothing'),
    fc.nat(9),
    fc.nat(19),
  ),
  { maxLength: 25 },
);

test('a builder that takes what is the same object as it was says what one says that looks at everything', () => {
  fc.assert(
    fc.property(changes, fc.nat(3), (steps, kept) => {
      const quick = new SnapshotBuilder();
      const slow = new SnapshotBuilder();
      let spec = START;
      /** Snapshots that somebody reads still, as they were. */
      const held: { parts: SnapshotParts; was: Buffer }[] = [];
      let now = 100;
      for (const step of [['nothing', 0, 0] as const, ...steps]) {
        spec = changed(spec, step);
        now += step[0] === 'nothing' ? 4000 : 10;
        const parts = quick.build(spec, now);
        assert.deepEqual(said(parts), said(slow.build(structuredClone(spec), now)));
        assert.deepEqual(quick.save(), slow.save());
        held.push({ parts, was: bytesOf(parts) });
        // The oldest are read by nobody any more; whoever is written to then, it is none of the others.
        while (held.length > 1 + kept) quick.release((held.shift() as (typeof held)[number]).parts);
        for (const { parts: old, was } of held) assert.ok(was.equals(bytesOf(old)));
      }
    }),
    { numRuns: 60 },
  );
});

test('changes, told one by one, come to what is saved as a whole', () => {
  fc.assert(
    fc.property(changes, (steps) => {
      const builder = new SnapshotBuilder();
      let spec = START;
      builder.build(spec, 100);
      const pieces = new Map(builder.save().backends.pools.map((one) => [one.pool, one]));
      const identities = new Map(builder.save().services.holders.map((one) => [one[0], one]));
      const pools = new Map(builder.save().pools.map((one) => [one.name, one]));
      builder.told();
      let now = 100;
      for (const step of steps) {
        spec = changed(spec, step);
        now += step[0] === 'nothing' ? 4000 : 10;
        builder.build(spec, now);
        const told = builder.takeChanges();
        for (const pool of told.backends.forgotten) pieces.delete(pool);
        for (const piece of told.backends.pools) pieces.set(piece.pool, piece);
        for (const identity of told.services.forgotten) identities.delete(identity);
        for (const holder of told.services.holders) identities.set(holder[0], holder);
        for (const name of told.gone) pools.delete(name);
        for (const one of told.pools) pools.set(one.name, one);
        const { backends, services, pools: saved } = builder.save();
        assert.equal(told.backends.next, backends.next);
        assert.deepEqual(pieces, new Map(backends.pools.map((one) => [one.pool, one])));
        assert.deepEqual(identities, new Map(services.holders.map((one) => [one[0], one])));
        assert.deepEqual(pools, new Map(saved.map((one) => [one.name, one])));
      }
    }),
    { numRuns: 40 },
  );
});

test('a root that nobody reads is used again, and a change of one pool leaves the others of it alone', () => {
  const builder = new SnapshotBuilder();
  const first = builder.build(START, 1);
  const second = builder.build(changed(START, ['state', 0, 1]), 2);
  assert.notEqual(second.root, first.root, 'the first is still read');
  builder.release(first);
  assert.equal(builder.build(START, 3).root, first.root);
});

test('a backend’s record, made of what its pool has in common and its address, is that of its own template', () => {
  const spec = { ...START, pools: [pool(1, [1, 2, 4, 5]), pool(2, [1, 2, 4, 5])] };
  const { root, names } = new SnapshotBuilder().build(spec, 1);
  const words = new Int32Array(root);
  for (const one of spec.pools) {
    for (const { name, address, tunnel = one.tunnel } of one.backends) {
      const id = names.backends.find((known) => known.pool === one.name && known.name === name)?.id ?? -1;
      const at = words[L.H_BACKENDS] + id * L.BACKEND_WORDS;
      const source = (address.length === 4 ? tunnel.source4 : tunnel.source6) as Uint8Array;
      const template = outerTemplate(tunnel, source, address);
      assert.deepEqual(new Uint8Array(root, (at + L.B_TEMPLATE) * 4, 64), template.bytes);
      assert.deepEqual([words[at + L.B_HEADER_SUM], words[at + L.B_DATAGRAM_SUM]], [template.headerSum, template.datagramSum]);
      assert.deepEqual([words[at + L.B_FAMILY], words[at + L.B_OVERHEAD]], [template.family, template.overhead]);
    }
  }
});

test('the loop guard refuses what one look at every pair refuses', () => {
  const byte = fc.nat(3);
  const prefix = fc
    .tuple(fc.boolean(), byte, byte, fc.nat(8))
    .map(([six, a, b, cut]) =>
      prefixOf(six ? [0xfd, ...new Array<number>(13).fill(0), a, b] : [10, 0, a, b], (six ? 128 : 32) - cut),
    );
  const pools = fc.tuple(byte, byte, fc.nat(3), fc.boolean()).map(([a, b, spread, six]): PoolSpec => {
    const address = six ? Uint8Array.from([0xfd, ...new Array<number>(13).fill(0), a, b]) : Uint8Array.of(10, 0, a, b);
    const tunnel = { ...TUNNEL, source4: Uint8Array.of(10, 0, b, 4 * a), source6: null, spread4: spread };
    return { name: 'p', tableSize: 31, seed: 1, tunnel, backends: [{ name: 'w', address, weight: 1, state: 'active' }] };
  });
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 4 }), fc.array(pools, { maxLength: 3 }), (prefixes, all) => {
      const services = prefixes.map((one, i) => ({ ...service(i, 'p'), prefix: one }));
      const refusal = (check: () => void): string => {
        try {
          check();
          return '';
        } catch (error) {
          return (error as { code: string }).code;
        }
      };
      assert.equal(
        refusal(() => new LoopGuard(services).refuse(all)),
        refusal(() => refuseLoops(services, all)),
      );
    }),
    { numRuns: 500 },
  );
});

function prefixOf(bytes: number[], length: number) {
  const all = Uint8Array.from(bytes);
  for (let bit = length; bit < all.length * 8; bit++) all[bit >> 3] &= ~(0x80 >> (bit & 7));
  return { bytes: all, length };
}

test('memory of tables that nobody reads is used again, and not before', () => {
  const builder = new SnapshotBuilder();
  const spec = { ...START, pools: [pool(1, [1, 2, 4])] };
  const flip = (n: number) => changed(spec, ['state', 0, n]);
  const parts = [1, 2, 4, 5].map((n) => builder.build(flip(n), n));
  const known = new Set(parts.flatMap(({ tables }) => tables));
  assert.equal(known.size, 4, 'nothing was released');
  for (const one of parts.slice(0, 3)) {
    builder.release(one);
    // A second time is once.
    builder.release(one);
  }
  const next = builder.build(flip(7), 8);
  const held = new Set(parts[3].tables);
  for (const table of next.tables) assert.ok(known.has(table), 'no new memory');
  assert.equal(next.tables.filter((table) => !held.has(table)).length, 1);
});
