import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { BackendIdentities, type Member, type PoolPiece } from './backend-identities.ts';
import { IdentityRegistry } from './identity.ts';

const POOLS = ['p0', 'p1', 'p2'];
const member = (n: number): Member => ({ name: `w${n % 4}`, address: Uint8Array.of(10, 0, 0, n) });
const textOf = (pool: string, { name, address }: Member) => `${pool} ${name} ${address.join('.')}`;

/** Who is in which pool: null for a pool that is not part of the build. */
const scene = fc.tuple(...POOLS.map(() => fc.option(fc.array(fc.nat(7), { maxLength: 6 }), { nil: null, freq: 4 })));
const step = fc.record({ scene, pause: fc.constantFrom(1, 1000, 3599, 3600, 8000), restart: fc.boolean(), fails: fc.boolean() });

type Scene = readonly (readonly number[] | null)[];

/** As a builder claims: after the first build only for the pools that are new or another. */
function claimed(registry: BackendIdentities, before: Scene | null, now: Scene, at: number) {
  if (before === null) registry.begin();
  else registry.change();
  const numbers = new Map<string, { id: number; since: number }[]>();
  POOLS.forEach((pool, i) => {
    const list = now[i];
    if (list === null) {
      registry.leave(pool);
      return;
    }
    const { ids, sinces } = registry.claim(pool, list.map(member), at);
    numbers.set(
      pool,
      [...ids].map((id, n) => ({ id, since: sinces[n] })),
    );
  });
  return numbers;
}

/** Every holder that pieces know, as the registry of texts has them. */
function holdersOf(pools: readonly PoolPiece[]): Map<string, readonly [number, number, number | null]> {
  const holders = new Map<string, readonly [number, number, number | null]>();
  for (const { pool, present, ids, sinces, gone } of pools) {
    present.forEach((one, i) => {
      holders.set(textOf(pool, one), [ids[i], sinces[i], null]);
    });
    for (const one of gone) holders.set(textOf(pool, one), [one.id, one.since, one.gone]);
  }
  return holders;
}

function restored(registry: BackendIdentities, limit: number): BackendIdentities {
  const next = new BackendIdentities(limit);
  next.restore(registry.save());
  return next;
}

test('pieces by pool give the ids that one list of texts gives', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      let quick = new BackendIdentities(1000);
      const slow = new IdentityRegistry(1000, 'backends');
      let before: Scene | null = null;
      let now = 1;
      for (const { scene: wanted, pause, restart, fails } of steps) {
        now += pause;
        if (restart) {
          quick = restored(quick, 1000);
          before = null;
        }
        const numbers = claimed(quick, before, wanted, now);
        // Nothing of a build that came to nothing stays.
        if (fails) continue;
        slow.begin();
        POOLS.forEach((pool, i) => {
          const own = wanted[i]?.map((n) => slow.claim(textOf(pool, member(n)), now));
          assert.deepEqual(numbers.get(pool), own);
        });
        quick.commit(now);
        slow.commit(now);
        before = wanted;
        const saved = slow.save();
        assert.equal(quick.save().next, saved.next);
        assert.deepEqual(
          holdersOf(quick.save().pools),
          new Map(saved.holders.map(([text, id, since, gone]) => [text, [id, since, gone]])),
        );
      }
    }),
  );
});

test('at the limit: one id each, kept for an hour, refused only when there is none, and nobody is known twice', () => {
  const LIMIT = 5;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      let registry = new BackendIdentities(LIMIT);
      let before: Scene | null = null;
      let known = new Map<string, readonly [number, number, number | null]>();
      let now = 1;
      for (const { scene: wanted, pause, restart } of steps) {
        now += pause;
        if (restart) {
          registry = restored(registry, LIMIT);
          before = null;
        }
        const names = new Set(POOLS.flatMap((pool, i) => (wanted[i] ?? []).map((n) => textOf(pool, member(n)))));
        let numbers: ReturnType<typeof claimed>;
        try {
          numbers = claimed(registry, before, wanted, now);
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'GD_SNAPSHOT_IDS');
          const held = [...known].filter(([text, [, , gone]]) => names.has(text) || gone === null || now - gone < 3600).length;
          const strangers = [...names].filter((text) => !known.has(text)).length;
          assert.ok(held + strangers > LIMIT, 'refused although there was room');
          continue;
        }
        registry.commit(now);
        before = wanted;
        const holders = holdersOf(registry.save().pools);
        const ids = [...holders.values()].map(([id]) => id);
        assert.equal(new Set(ids).size, ids.length, 'two have one id');
        assert.ok(ids.every((id) => id >= 0 && id < LIMIT));
        POOLS.forEach((pool, i) => {
          wanted[i]?.forEach((n, at) => {
            const text = textOf(pool, member(n));
            const [id, since, gone] = holders.get(text) ?? [-1, -1, -1];
            assert.deepEqual(numbers.get(pool)?.[at], { id, since });
            assert.equal(gone, null);
            const was = known.get(text);
            if (was !== undefined && (was[2] === null || now - was[2] < 3600)) assert.deepEqual([id, since], was.slice(0, 2));
            else if (was?.[0] !== id) assert.equal(since, now);
          });
        });
        for (const [text, [id, , gone]] of known) {
          if (holders.has(text)) continue;
          assert.ok(gone !== null && now - gone >= 3600, `${text} was forgotten too early`);
          assert.ok(ids.includes(id), `${text} was forgotten for nobody`);
        }
        known = holders;
      }
    }),
  );
});

test('a pool that has the backends that it had has the same columns, and nothing is to be told of it', () => {
  const registry = new BackendIdentities(10);
  registry.begin();
  const first = registry.claim('p', [member(1), member(2)], 5);
  registry.commit(5);
  assert.deepEqual(registry.takeChanges().pools.length, 1);
  registry.change();
  assert.equal(registry.claim('p', [member(1), member(2)], 6), registry.save().pools[0]);
  registry.commit(6);
  assert.deepEqual([...registry.save().pools[0].ids], [...first.ids]);
  const { pools, forgotten } = registry.takeChanges();
  assert.deepEqual([pools, forgotten], [[], []]);
});

test('what contradicts itself is refused', () => {
  const piece = { pool: 'p', present: [member(1)], ids: Int32Array.of(0), sinces: Int32Array.of(1), gone: [] };
  const refuses = (next: number, pools: readonly PoolPiece[]) =>
    assert.throws(() => new BackendIdentities(10).restore({ next, pools }), RangeError);
  refuses(0, [piece]);
  refuses(11, []);
  refuses(1, [piece, { ...piece, pool: 'q' }]);
  refuses(2, [piece, { ...piece, ids: Int32Array.of(1) }]);
  refuses(1, [{ ...piece, sinces: new Int32Array(0) }]);
  refuses(1, [{ ...piece, sinces: Int32Array.of(-1) }]);
  refuses(1, [{ ...piece, gone: [{ ...member(2), id: 0, since: 1, gone: 2 }] }]);
  new BackendIdentities(10).restore({ next: 1, pools: [piece] });
});
