import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Config } from '../config/config.ts';
import type { Discovery } from '../config/discovery.ts';
import { loadText } from '../config/load.ts';
import { examineFiles, type Look, lookAtFiles, NOTHING_FOUND, neverRead } from './discovery.ts';

/** A folder, a configuration beside it, and looks half a second apart. */
class Bench {
  readonly folder: string;
  config: Config;
  look: Look = NOTHING_FOUND;
  now = 1_000_000;

  constructor(t: TestContext, from: string, more = '') {
    this.folder = mkdtempSync(join(tmpdir(), 'gue-director-watch-'));
    t.after(() => rmSync(this.folder, { recursive: true, force: true }));
    this.config = this.load(from, more);
  }

  load(from: string, more = ''): Config {
    const yaml = `
services: [{ name: s, address: 192.0.2.0/24, protocol: tcp, port: 80, pool: web }]
pools:
  web:
    backends-from: ${from}
${more}
tunnel: { source: { ipv4: 203.0.113.1 } }
`;
    return loadText(yaml, join(this.folder, 'director.yaml'));
  }

  get discovery(): Discovery {
    return this.config.discovery as Discovery;
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.folder, 'next'), text);
    renameSync(join(this.folder, 'next'), join(this.folder, name));
  }

  /** Says the news, in short. */
  next(anew = false, trust = false): string[] {
    this.now += 500;
    this.look = lookAtFiles(this.discovery, this.look, this.now, anew, trust);
    return this.look.news.map((news) => {
      const file = news.file.replace(`${this.folder}/`, '');
      if (news.what === 'taken') return `${file} +${news.added} -${news.removed} = ${news.backends}`;
      if (news.what === 'failed')
        return `${file} ${news.problem.code} ${news.problem.line}:${news.problem.column} kept ${news.never ? 'none' : news.kept}`;
      return `${file} ${news.what}`;
    });
  }

  /** Two looks: a change is at rest by then. */
  settle(): string[] {
    return [...this.next(), ...this.next()];
  }

  get names(): string[] {
    return (this.look.found.get('web') ?? []).map(({ name }) => name);
  }
}

const list = (...numbers: number[]) => numbers.map((n) => `- { name: w${n}, address: 198.51.100.${n} }\n`).join('') || '[]\n';

test('a pool may have its backends from files alone; without either it is refused', (t) => {
  const bench = new Bench(t, '[a.yaml]');
  assert.deepEqual(bench.config.spec.pools[0].backends, []);
  assert.deepEqual(bench.config.warnings, []);
  assert.deepEqual(bench.discovery.sources, [{ pool: 'web', patterns: [join(bench.folder, 'a.yaml')], shrinkLimit: 50 }]);
  const none = 'services: [{ name: s, address: 192.0.2.1, protocol: tcp, port: 80, pool: p }]\npools: { p: { seed: 1 } }\n';
  assert.throws(() => loadText(none, 'x.yaml'), /x\.yaml:2:\d+ pools\.p\.backends the key "backends" is missing/);
});

test('replaced, broken, mended, missing: what was last right stays', (t) => {
  const bench = new Bench(t, 'a.yaml', '    backends: [{ name: own, address: 198.51.100.200 }]');
  assert.deepEqual(bench.next(true), ['a.yaml GD_CONFIG_FILE_MISSING 1:1 kept none']);
  assert.equal(neverRead(bench.look).length, 1);
  bench.write('a.yaml', list(1, 2));
  assert.deepEqual(bench.settle(), ['a.yaml +2 -0 = 2']);
  assert.equal(neverRead(bench.look).length, 0);
  assert.deepEqual(bench.names, ['w1', 'w2']);
  const { found } = bench.look;
  assert.deepEqual(bench.settle(), []);
  assert.equal(bench.look.found, found, 'nothing to publish');
  bench.write('a.yaml', list(1, 2));
  assert.deepEqual(bench.settle(), [], 'the same text in another file');
  assert.ok(bench.look.same);

  bench.write('a.yaml', list(1, 2, 3).replace('198.51.100.3', '192.0.2.7'));
  assert.deepEqual(bench.settle(), ['a.yaml GD_CONFIG_LOOP 3:24 kept 2'], 'a loop: inside a service');
  bench.write('a.yaml', list(1, 2, 200));
  assert.deepEqual(bench.settle(), ['a.yaml GD_CONFIG_DUPLICATE_ADDRESS 3:26 kept 2'], "the pool's own backend");
  const seenAt = [...bench.look.files.values()][0].seenAt;
  bench.write('a.yaml', '- [');
  assert.deepEqual(bench.settle(), ['a.yaml GD_CONFIG_YAML 1:4 kept 2']);
  rmSync(join(bench.folder, 'a.yaml'));
  assert.deepEqual(bench.settle(), ['a.yaml GD_CONFIG_FILE_MISSING 1:1 kept 2']);
  bench.now += 60_000;
  assert.deepEqual(bench.settle(), [], 'however long, and told once');
  assert.deepEqual(bench.names, ['w1', 'w2']);
  assert.equal(bench.look.found, found);
  const state = [...bench.look.files.values()][0];
  assert.deepEqual([state.seenAt, state.failures], [seenAt, 5]);
  bench.write('a.yaml', list(1, 2));
  assert.deepEqual(bench.settle(), ['a.yaml mended']);
  bench.write('a.yaml', list());
  assert.deepEqual(bench.settle(), ['a.yaml GD_CONFIG_FILE_SHRUNK 1:1 kept 2']);
  bench.now += 30_000;
  assert.deepEqual(bench.settle(), ['a.yaml +0 -2 = 0'], 'an empty list that stays is meant');
});

test('a file that loses more than half is doubted for a while; back, reloaded or without a limit it is believed', (t) => {
  const bench = new Bench(t, 'a.yaml');
  bench.write('a.yaml', list(1, 2, 3, 4));
  bench.next(true);
  bench.write('a.yaml', list(5, 6));
  assert.deepEqual(bench.settle(), ['a.yaml +2 -4 = 2'], 'half as many, whoever they are');
  bench.write('a.yaml', list());
  assert.deepEqual(bench.settle(), ['a.yaml GD_CONFIG_FILE_SHRUNK 1:1 kept 2']);
  bench.now += 20_000;
  assert.deepEqual(bench.settle(), []);
  bench.write('a.yaml', list(5, 6));
  assert.deepEqual(bench.settle(), ['a.yaml mended']);
  bench.write('a.yaml', list());
  bench.settle();
  bench.now += 20_000;
  assert.deepEqual([bench.settle(), bench.names], [[], ['w5', 'w6']], 'the time begins anew');
  assert.deepEqual([bench.next(true), bench.names], [[], ['w5', 'w6']], 'another configuration says nothing of it');
  assert.deepEqual([bench.next(true, true), bench.names], [['a.yaml +0 -2 = 0'], []], 'who asks for it says that it is meant');
  bench.config = bench.load('a.yaml', '    shrink-limit: 100');
  bench.write('a.yaml', list(1, 2, 3));
  bench.next(true);
  bench.write('a.yaml', list());
  assert.deepEqual(bench.settle(), ['a.yaml +0 -3 = 0']);
});

test('who writes in steps is waited for, but not for ever; a symlink is followed anew each time', (t) => {
  const bench = new Bench(t, 'a.yaml');
  bench.write('a.yaml', list(1));
  bench.next(true);
  for (let size = 2; size <= 4; size++) {
    bench.write('a.yaml', list(...Array.from({ length: size }, (_, i) => i + 1)));
    assert.deepEqual(bench.next(), []);
  }
  bench.write('a.yaml', list(1, 2, 3, 4, 5));
  assert.deepEqual(bench.next(), ['a.yaml +4 -0 = 5']);

  // As Kubernetes turns a ConfigMap: a.yaml → ..data/a.yaml, and ..data is turned.
  for (const [version, text] of [
    ['v1', list(1)],
    ['v2', list(1, 7)],
  ]) {
    mkdirSync(join(bench.folder, version));
    writeFileSync(join(bench.folder, version, 'a.yaml'), text);
  }
  const turn = (version: string) => {
    symlinkSync(version, join(bench.folder, '..tmp'));
    renameSync(join(bench.folder, '..tmp'), join(bench.folder, '..data'));
  };
  turn('v1');
  rmSync(join(bench.folder, 'a.yaml'));
  symlinkSync('..data/a.yaml', join(bench.folder, 'a.yaml'));
  assert.deepEqual(bench.settle(), ['a.yaml GD_CONFIG_FILE_SHRUNK 1:1 kept 5']);
  bench.now += 30_000;
  assert.deepEqual(bench.settle(), ['a.yaml +0 -4 = 1']);
  turn('v2');
  assert.deepEqual(bench.settle(), ['a.yaml +1 -0 = 2']);
});

test('several files: one that is wrong is no business of the others; a move between two needs both', (t) => {
  const bench = new Bench(t, '["a.yaml", "b.yaml"]');
  bench.write('a.yaml', list(1, 2));
  bench.write('b.yaml', list(3));
  assert.deepEqual(bench.next(true), ['a.yaml +2 -0 = 2', 'b.yaml +1 -0 = 1']);
  bench.write('b.yaml', list(3, 2));
  assert.deepEqual(bench.settle(), ['b.yaml GD_CONFIG_DUPLICATE_NAME 2:11 kept 1']);
  bench.write('a.yaml', list(1));
  assert.deepEqual(bench.settle(), ['a.yaml +0 -1 = 1', 'b.yaml +1 -0 = 2'], 'the other file made it right');
  assert.deepEqual(bench.names, ['w1', 'w3', 'w2']);
  bench.write('a.yaml', list(1, 9));
  bench.write('b.yaml', '7');
  assert.deepEqual(bench.settle(), ['a.yaml +1 -0 = 2', 'b.yaml GD_CONFIG_TYPE 1:1 kept 2']);
});

test('a wildcard: files come and go, after a moment of grace; a folder that can not be read takes nobody away', (t) => {
  const bench = new Bench(t, '"d/*.yaml"');
  assert.match(bench.next(true)[0], /^d\/\*\.yaml GD_CONFIG_FILE_MISSING/);
  mkdirSync(join(bench.folder, 'd'));
  assert.deepEqual(bench.settle(), []);
  assert.equal(neverRead(bench.look).length, 0);
  bench.write('d/a.yaml', list(1));
  bench.write('d/b.yaml', list(2));
  assert.deepEqual(bench.settle(), ['d/a.yaml +1 -0 = 1', 'd/b.yaml +1 -0 = 1']);
  rmSync(join(bench.folder, 'd/a.yaml'));
  assert.deepEqual(bench.settle(), []);
  assert.deepEqual(bench.names, ['w1', 'w2']);
  bench.now += 5000;
  assert.deepEqual(bench.next(), ['d/a.yaml gone']);
  assert.deepEqual(bench.names, ['w2']);
  renameSync(join(bench.folder, 'd'), join(bench.folder, 'away'));
  bench.now += 60_000;
  assert.deepEqual(bench.settle(), ['d/b.yaml GD_CONFIG_FILE_MISSING 1:1 kept 1']);
  bench.now += 60_000;
  assert.deepEqual(bench.settle(), []);
  assert.deepEqual(bench.names, ['w2']);
});

test('another configuration: what contradicts it is left out, and nothing else', (t) => {
  const bench = new Bench(t, 'a.yaml');
  bench.write('a.yaml', list(1, 2, 3));
  bench.next(true);
  bench.config = bench.load('a.yaml', '    backends: [{ name: w2, address: 198.51.100.2 }]');
  assert.deepEqual(bench.next(true), ['a.yaml GD_CONFIG_DUPLICATE_NAME 2:11 kept 2']);
  assert.deepEqual(bench.names, ['w1', 'w3']);
  assert.deepEqual(bench.settle(), []);
  bench.write('a.yaml', list(1, 3));
  assert.deepEqual(bench.settle(), ['a.yaml +0 -1 = 2']);
  bench.config = bench.load('other.yaml');
  assert.deepEqual(bench.next(true), ['a.yaml gone', 'other.yaml GD_CONFIG_FILE_MISSING 1:1 kept none']);
  assert.deepEqual(bench.names, []);
});

test('check says everything that is wrong with the files, and what they warn about', (t) => {
  const bench = new Bench(t, '[a.yaml, b.yaml]', '    table-size: 251');
  bench.write('a.yaml', '- { name: x, addres: 10.0.0.1 }\n');
  bench.write('b.yaml', list(1, 2, 3));
  const { found, problems } = examineFiles(bench.discovery);
  assert.deepEqual(
    problems.map(({ file, line, column, code }) => `${file.replace(`${bench.folder}/`, '')}:${line}:${column} ${code}`),
    ['a.yaml:1:3 GD_CONFIG_MISSING_KEY', 'a.yaml:1:14 GD_CONFIG_UNKNOWN_KEY', 'director.yaml:6:17 GD_CONFIG_TABLE_SMALL'],
  );
  assert.equal(found.get('web')?.length, 3);
});

/** So many backends, of a network of their own. */
const many = (count: number, net: number) =>
  Array.from({ length: count }, (_, i) => `- { name: n${net}-${i}, address: 10.${net}.${i >> 8}.${i & 255} }\n`).join('');

/** Two pools, each with a table for 251 backends at most. */
function twoPools(t: TestContext): Bench {
  const bench = new Bench(t, '[a.yaml, b.yaml]');
  const yaml = `services:
  - { name: s, address: 192.0.2.0/25, protocol: tcp, port: 80, pool: web }
  - { name: u, address: 192.0.2.128/25, protocol: tcp, port: 80, pool: api }
pools:
  web: { table-size: 251, backends-from: [a.yaml, b.yaml] }
  api: { table-size: 251, backends-from: [c.yaml] }
tunnel: { source: { ipv4: 203.0.113.1 } }
`;
  bench.load = (_, size = '251') =>
    loadText(yaml.replace('web: { table-size: 251', `web: { table-size: ${size}`), join(bench.folder, 'director.yaml'));
  bench.config = bench.load('');
  return bench;
}

const counts = (bench: Bench) => ['web', 'api'].map((pool) => bench.look.found.get(pool)?.length ?? 0);

test('a pool that its files overfill keeps what it had, whichever file it is, and no other pool pays for it', (t) => {
  const bench = twoPools(t);
  bench.write('a.yaml', many(100, 1));
  bench.write('b.yaml', many(100, 2));
  bench.write('c.yaml', many(10, 3));
  bench.next(true);
  assert.deepEqual(counts(bench), [200, 10]);
  // Both new at one look: c is right, b is too much.
  bench.write('b.yaml', many(200, 2));
  bench.write('c.yaml', many(20, 3));
  assert.deepEqual(bench.settle(), ['b.yaml GD_CONFIG_TABLE_SMALL 5:22 kept 100', 'c.yaml +10 -0 = 20']);
  assert.deepEqual(counts(bench), [200, 20]);
  bench.write('a.yaml', many(200, 1));
  bench.write('b.yaml', many(110, 2));
  assert.deepEqual(bench.settle(), ['a.yaml GD_CONFIG_TABLE_SMALL 5:22 kept 100', 'b.yaml +10 -0 = 110']);
  assert.deepEqual(counts(bench), [210, 20]);
});

test('a configuration whose table is too small for what the files have is contradicted, and nothing is emptied', (t) => {
  const bench = twoPools(t);
  bench.config = bench.load('', '509');
  bench.write('a.yaml', many(200, 1));
  bench.write('b.yaml', many(200, 2));
  bench.write('c.yaml', many(10, 3));
  bench.next(true);
  assert.deepEqual([counts(bench), bench.look.contradictions], [[400, 10], []]);
  const tooSmall = bench.load('');
  const look = lookAtFiles(tooSmall.discovery as Discovery, bench.look, bench.now + 1, true);
  assert.deepEqual(
    look.contradictions.map(({ code, line }) => [code, line]),
    [['GD_CONFIG_TABLE_SMALL', 5]],
  );
  assert.deepEqual(
    ['web', 'api'].map((pool) => look.found.get(pool)?.length),
    [400, 10],
  );
  // At a start nothing was there to be kept: what fits is taken.
  const start = lookAtFiles(tooSmall.discovery as Discovery, NOTHING_FOUND, 1, true);
  assert.deepEqual(
    ['web', 'api'].map((pool) => start.found.get(pool)?.length),
    [200, 10],
  );
});
