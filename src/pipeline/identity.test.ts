import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from '../../test/property.ts';
import { IdentityRegistry } from './identity.ts';

function build(registry: IdentityRegistry, now: number, ...identities: string[]): number[] {
  registry.begin();
  const ids = identities.map((identity) => registry.claim(identity, now).id);
  registry.commit(now);
  return ids;
}

test('ids are stable, and reused only an hour after their holder has gone, with a new since', () => {
  const registry = new IdentityRegistry(2, 'backends');
  assert.deepEqual(build(registry, 10, 'a', 'b'), [0, 1]);
  assert.deepEqual(build(registry, 100, 'b'), [1]);
  assert.throws(() => build(registry, 3699, 'b', 'c'), { code: 'GD_SNAPSHOT_IDS' });
  assert.deepEqual(build(registry, 3700, 'b', 'c'), [1, 0]);
  registry.begin();
  assert.deepEqual(registry.claim('c', 4000), { id: 0, since: 3700 });
  assert.throws(() => build(registry, 4000, 'b', 'c', 'a'), /more than 2 backends/);
});

test('a build that failed has changed nothing', () => {
  const registry = new IdentityRegistry(3, 'backends');
  assert.deepEqual(build(registry, 10, 'a', 'b'), [0, 1]);
  registry.begin();
  registry.claim('x', 20);
  // No commit: x had no id, and a and b were never gone.
  assert.deepEqual(build(registry, 5000, 'a', 'b', 'y'), [0, 1, 2]);
  assert.throws(() => build(registry, 5000, 'a', 'b', 'y', 'z'), { code: 'GD_SNAPSHOT_IDS' });
});

test('a registry that was restored goes on where the other was: ids, when they were given, who is gone', () => {
  const first = new IdentityRegistry(4, 'backends');
  first.begin();
  for (const name of ['a', 'b', 'c']) first.claim(name, 10);
  first.commit(10);
  assert.equal(first.changes, 1);
  first.begin();
  for (const name of ['a', 'c']) first.claim(name, 20);
  first.commit(20);
  assert.equal(first.changes, 1, 'nobody new: nothing that is written down would be wrong');
  const saved = JSON.parse(JSON.stringify(first.save()));
  const second = new IdentityRegistry(4, 'backends');
  second.restore(saved);
  assert.deepEqual(second.save(), first.save());
  second.begin();
  assert.deepEqual(second.claim('c', 30), { id: 2, since: 10 });
  assert.deepEqual(second.claim('d', 30), { id: 3, since: 30 });
  assert.throws(() => second.claim('e', 20 + 3599), /more than 4 backends/);
  assert.deepEqual(second.claim('e', 20 + 3600), { id: 1, since: 3620 });
  second.commit(3620);
  assert.equal(second.changes, 1);
});

test('identities that contradict themselves are refused', () => {
  const wrong = [
    { next: 5, holders: [] },
    { next: 1, holders: [['a', 1, 0, null]] },
    {
      next: 2,
      holders: [
        ['a', 0, 0, null],
        ['b', 0, 0, null],
      ],
    },
    { next: 1, holders: [['a', 0, -1, null]] },
    { next: 0.5, holders: [] },
  ] as const;
  for (const saved of wrong) assert.throws(() => new IdentityRegistry(4, 'backends').restore(saved), RangeError);
});

test('who comes back in the build that gives his id away gets another', () => {
  const registry = new IdentityRegistry(2, 'backends');
  assert.deepEqual(build(registry, 10, 'a', 'b'), [0, 1]);
  build(registry, 20);
  // x is given the id of a, who has been gone for long, before anybody knows that a is back.
  assert.deepEqual(build(registry, 4000, 'x', 'a'), [0, 1]);
  assert.deepEqual(build(registry, 4001, 'a', 'x'), [1, 0]);
});

test('at the limit and below it: one id each, kept for an hour, and refused only when there is none', () => {
  const LIMIT = 4;
  const names = fc.uniqueArray(fc.constantFrom<string[]>('a', 'b', 'c', 'd', 'e', 'f', 'g'), { maxLength: LIMIT + 1 });
  const step = fc.record({ names, pause: fc.constantFrom(1, 1000, 3599, 3600, 8000), restart: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      let registry = new IdentityRegistry(LIMIT, 'backends');
      /** Who had an id last, and until when; Infinity while he is there. */
      let owners = new Map<number, { name: string; since: number; gone: number }>();
      let now = 1;
      for (const { names, pause, restart } of steps) {
        now += pause;
        if (restart) {
          const saved = JSON.parse(JSON.stringify(registry.save()));
          registry = new IdentityRegistry(LIMIT, 'backends');
          registry.restore(saved);
        }
        const held = [...owners.values()].filter(({ name, gone }) => names.includes(name) || now - gone < 3600).length;
        const strangers = names.filter((name) => ![...owners.values()].some((owner) => owner.name === name)).length;
        registry.begin();
        let claims: { id: number; since: number }[];
        try {
          claims = names.map((name) => registry.claim(name, now));
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'GD_SNAPSHOT_IDS');
          assert.ok(held + strangers > LIMIT, 'refused although there was room');
          continue;
        }
        registry.commit(now);
        assert.equal(new Set(claims.map(({ id }) => id)).size, names.length, 'two have one id');
        const next = new Map(owners);
        for (const owner of next.values()) if (owner.gone === Infinity) owner.gone = now;
        claims.forEach(({ id, since }, i) => {
          const owner = owners.get(id);
          assert.ok(id >= 0 && id < LIMIT);
          if (owner?.name === names[i]) assert.equal(since, owner.since);
          else {
            assert.equal(since, now);
            assert.ok(owner === undefined || now - owner.gone >= 3600, 'an id was given away too early');
          }
          const mine = [...owners].find(([, { name, gone }]) => name === names[i] && (gone === now || now - gone < 3600));
          if (mine !== undefined) assert.equal(id, mine[0], 'within the hour he has his id again');
          next.set(id, { name: names[i], since, gone: Infinity });
        });
        owners = next;
      }
    }),
  );
});
