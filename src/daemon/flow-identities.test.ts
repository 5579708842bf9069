import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from '../../test/property.ts';
import { formatAddress } from '../base/address.ts';
import type { SavedTable } from '../pipeline/pool-history.ts';
import { type SavedState, SnapshotBuilder } from '../pipeline/snapshot.ts';
import type { BackendSpec, PoolSpec, Spec } from '../pipeline/spec.ts';
import { addToIdentities, readIdentities, writeIdentities } from './flow-identities.ts';
import { identitiesPath } from './flow-path.ts';

const FILE = 'the-id-of-the-file';
const TUNNEL = {
  encapsulation: 'gue',
  port: 6080,
  source4: Uint8Array.of(10, 9, 0, 1),
  source6: Uint8Array.from([0xfd, ...new Array<number>(14).fill(0), 9]),
  checksum: 'auto',
} as const;
const STATES = ['active', 'draining', 'down'] as const;

function backend(n: number, state: number, weight: number): BackendSpec {
  const address =
    n % 3 === 0 ? Uint8Array.from([0xfd, 1, ...new Array<number>(13).fill(0), n + 1]) : Uint8Array.of(10, 0, 255, n + 1);
  return { name: `w${n}`, address, weight, state: STATES[state] };
}

const backends = fc
  .uniqueArray(fc.tuple(fc.nat(7), fc.nat(2), fc.nat(3)), { selector: ([n]) => n, maxLength: 8 })
  .map((list) => list.map(([n, state, weight]) => backend(n, state, weight)));
const specs = fc.array(backends, { maxLength: 4 }).map((pools): Spec => {
  return {
    services: [],
    pools: pools.map((own, n): PoolSpec => ({ name: `p${n}`, tableSize: 31, seed: n, tunnel: TUNNEL, backends: own })),
  };
});

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'gue-director-identities-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return join(made, 'flows');
}

/** With nothing of backends but what is written down. */
function plain(state: SavedState) {
  const table = (one: SavedTable | null) =>
    one === null
      ? null
      : { ...one, backends: one.backends.map(({ name, address, weight, state: is }) => ({ name, address, weight, state: is })) };
  const pieces = state.backends.pools.map((one) => {
    return { ...one, present: one.present.map(({ name, address }) => ({ name, address })) };
  });
  return {
    next: state.backends.next,
    pieces: new Map(pieces.map((one) => [one.pool, one])),
    services: state.services,
    pools: new Map(state.pools.map((one) => [one.name, { ...one, current: table(one.current), previous: table(one.previous) }])),
  };
}

function read(path: string): SavedState {
  const { state, why } = readIdentities(path, FILE);
  assert.equal(why, '');
  return state as SavedState;
}

test('what was written, as a whole and change by change, is read again', (t) => {
  const path = folder(t);
  fc.assert(
    fc.property(fc.array(specs, { minLength: 1, maxLength: 6 }), fc.nat(6), (all, wholeAt) => {
      const builder = new SnapshotBuilder();
      all.forEach((spec, n) => {
        builder.build(spec, 100 + n);
        if (n === 0 || n === wholeAt) {
          writeIdentities(path, FILE, builder.save());
          builder.told();
        } else addToIdentities(path, builder.takeChanges());
        assert.deepEqual(plain(read(path)), plain(builder.save()));
      });
    }),
    { numRuns: 60 },
  );
});

/** As version 2 was written: every backend by itself. */
function textBefore({ backends: { next, pools: pieces }, services, pools }: SavedState): string {
  const holders = pieces.flatMap(({ pool, present, ids, sinces, gone }) => [
    ...present.map(({ name, address }, i) => [`${pool}\0${name}\0${formatAddress(address)}`, ids[i], sinces[i], null]),
    ...gone.map(({ name, address, id, since, gone: at }) => [`${pool}\0${name}\0${formatAddress(address)}`, id, since, at]),
  ]);
  const table = ({ scheme, tableSize, seed, backends: own, ids, sinces }: SavedTable) => ({
    scheme,
    tableSize,
    seed,
    backends: own.map(({ name, address, weight, state }, i) => {
      return [name, Buffer.from(address).toString('hex'), weight, state, ids[i], sinces[i]];
    }),
  });
  const written = pools.map(({ name, current, previous, changedAt }) => {
    return { name, current: table(current), previous: previous === null ? null : table(previous), changedAt };
  });
  return JSON.stringify({ backends: { next, holders }, services, pools: written });
}

const sumOf = (text: string) => createHash('sha256').update(text).digest('hex');

test('what an older director wrote, with changes, is read as it was meant', (t) => {
  const path = folder(t);
  fc.assert(
    fc.property(fc.array(specs, { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 2 }), (all, version) => {
      const builder = new SnapshotBuilder();
      for (const [n, spec] of all.entries()) builder.build(spec, 100 + n);
      const text = textBefore(builder.save());
      writeFileSync(identitiesPath(path), `${JSON.stringify({ version, file: FILE, sum: sumOf(text) })}\n${text}\n`);
      const was = plain(read(path));
      // A piece of which nothing is known was not written.
      for (const [name, { present, gone }] of was.pieces) assert.ok(present.length + gone.length > 0, name);
      assert.deepEqual(was, plain(builder.save()));
      if (version === 1) return;
      const holder = ['p9\0w9\0fd00::9', 77, 200, 300];
      const [pool] = all[0].pools;
      const gone = pool === undefined ? [] : [pool.name];
      const change = JSON.stringify({
        backends: { next: 78, holders: [holder], forgotten: [] },
        services: { next: 1, holders: [['s', 0, 5, null]], forgotten: [] },
        pools: [],
        gone,
      });
      writeFileSync(identitiesPath(path), `${sumOf(change).slice(0, 16)} ${change}\n`, { flag: 'a' });
      const { next, pieces, services, pools } = plain(read(path));
      assert.equal(next, 78);
      const address = Uint8Array.from([0xfd, ...new Array<number>(14).fill(0), 9]);
      assert.deepEqual(pieces.get('p9')?.gone, [{ name: 'w9', address, id: 77, since: 200, gone: 300 }]);
      assert.deepEqual(services, { next: 1, holders: [['s', 0, 5, null]] });
      for (const name of gone) assert.ok(!pools.has(name));
    }),
    { numRuns: 40 },
  );
});

test('what nobody wrote is damaged, whatever its sum', (t) => {
  const path = folder(t);
  const builder = new SnapshotBuilder();
  const own = [backend(1, 0, 1), backend(2, 0, 1)];
  builder.build({ services: [], pools: [{ name: 'p', tableSize: 31, seed: 1, tunnel: TUNNEL, backends: own }] }, 100);
  writeIdentities(path, FILE, builder.save());
  const [, body] = readFileSync(identitiesPath(path), 'utf8').split('\n');
  const why = (text: string) => {
    writeFileSync(identitiesPath(path), `${JSON.stringify({ version: 3, file: FILE, sum: sumOf(text) })}\n${text}\n`);
    return readIdentities(path, FILE).why;
  };
  assert.equal(why(body), '');
  for (const [from, to] of [
    ['[0,1,2]', '[0,1,3]'],
    ['[0,1,2]', '[0,1,1]'],
    ['[0,1,2]', '[0,0.5,2]'],
    ['[0,1,2]', '[0,1,-2]'],
    ['0a00ff02 ', ''],
    ['0a00ff02', '0a00ff'],
    ['[0,0,2]', '[7,0,2]'],
    ['"p",0,', '"p",1,'],
    ['"rosters":', '"others":'],
  ]) {
    assert.ok(body.includes(from), from);
    assert.equal(why(body.replace(from, to)), 'its identities are damaged', `${from} → ${to}`);
  }
});

test('a thousand pools of the same workers name them once', (t) => {
  const path = folder(t);
  const workers = () =>
    Array.from({ length: 200 }, (_, k) => ({ ...backend(3 * k + 1, 0, 1), address: Uint8Array.of(10, 0, k, 1) }));
  const pools = Array.from({ length: 100 }, (_, n): PoolSpec => {
    return { name: `p${n}`, tableSize: 251, seed: n, tunnel: TUNNEL, backends: workers() };
  });
  const builder = new SnapshotBuilder();
  builder.build({ services: [], pools }, 100);
  const bytes = writeIdentities(path, FILE, builder.save());
  assert.equal(bytes, statSync(identitiesPath(path)).size);
  assert.ok(bytes < 100 * 200, `${bytes} bytes: less than one for each backend`);
  assert.equal(read(path).backends.next, 20_000);
});
