import assert from 'node:assert/strict';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { PACKAGE_HOMES, ROOMS, type Room, TEST_PACKAGES, TOOLS } from './rooms.ts';
import { filesBelow, importsOf, read } from './sources.ts';

/** What is wrong with `path` (below src/) importing `name`, or null. */
function objection(path: string, name: string): string | null {
  const isTest = path.endsWith('.test.ts');
  const [room] = path.split('/');
  const rules: Room | undefined = ROOMS[room];
  if (rules === undefined) return `src/${room}/ has no row in test/rules/rooms.ts`;

  if (name.startsWith('node:')) {
    return rules.pure && !isTest ? `${room} imports nothing from Node` : null;
  }
  if (!name.startsWith('.')) {
    const home = PACKAGE_HOMES[name.startsWith('@') ? name.split('/').slice(0, 2).join('/') : name.split('/')[0]];
    if (isTest && TEST_PACKAGES.includes(name)) return null;
    if (home === undefined) return 'the package has no home in test/rules/rooms.ts';
    return path.startsWith(home) ? null : `the package's one home is ${home}`;
  }

  const target = normalize(join(dirname(path), name));
  if (target.startsWith('..')) {
    return isTest && target.startsWith('../test/') ? null : 'it leaves src/';
  }
  const [other] = target.split('/');
  if (other === room || rules.may.includes('**')) return null;
  if (rules.may.includes('*') && !TOOLS.includes(other)) return null;
  if (rules.may.includes(other) || rules.may.includes(target.replace(/\.ts$/, ''))) return null;
  return `${room} may import ${rules.may.length === 0 ? 'no other room' : rules.may.join(', ')}`;
}

test('every room imports only the rooms its row allows', () => {
  const wrong: string[] = [];
  for (const path of filesBelow('src', '.ts')) {
    for (const name of importsOf(read(path))) {
      const reason = objection(path.slice('src/'.length), name);
      if (reason !== null) wrong.push(`${path} imports ${name}: ${reason}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('the rule finds what it forbids', () => {
  assert.match(objection('wire/gue.ts', '../pipeline/pipeline.ts') ?? '', /wire may import base/);
  assert.match(objection('wire/gue.ts', 'node:fs') ?? '', /nothing from Node/);
  assert.match(objection('host/links.ts', 'koffi') ?? '', /raw-socket\/library\.ts/);
  assert.match(objection('raw-socket/netlink.ts', 'koffi') ?? '', /raw-socket\/library\.ts/);
  assert.match(objection('config/load.ts', '../pipeline/pipeline.ts') ?? '', /pipeline\/spec/);
  assert.match(objection('daemon/run.ts', '../worker/run.ts') ?? '', /daemon may import/);
  assert.match(objection('demo/run.ts', '../daemon/run.ts') ?? '', /demo may import/);
  assert.match(objection('io/tun.ts', 'left-pad') ?? '', /no home/);
  assert.match(objection('io/tun.ts', '../../test/needs.ts') ?? '', /leaves src/);
  assert.match(objection('nowhere/x.ts', './y.ts') ?? '', /no row/);
  assert.equal(objection('config/load.ts', '../pipeline/spec.ts'), null);
  assert.equal(objection('raw-socket/library.ts', 'koffi'), null);
  assert.equal(objection('wire/gue.test.ts', 'fast-check'), null);
  assert.equal(objection('cli/commands/demo.ts', '../../demo/run.ts'), null);
});

test('imports are found in every spelling', () => {
  const text = `
    import type { A } from 'a';
    import b, { type B,
      C } from "b";
    export * from 'c';
    import 'd';
    const e = await import('e'); const f = require('f');
    // import 'g';
    /* import h from 'h' */`;
  assert.deepEqual(importsOf(text).sort(), ['a', 'b', 'c', 'd', 'e', 'f']);
});

test('the rooms hold no circle', () => {
  const state = new Map<string, 'open' | 'done'>();
  const visit = (room: string, way: string[]): void => {
    assert.notEqual(state.get(room), 'open', `circle: ${[...way, room].join(' → ')}`);
    if (state.get(room) === 'done') return;
    state.set(room, 'open');
    for (const other of ROOMS[room].may) {
      const [name] = other.split('/');
      if (!name.startsWith('*')) visit(name, [...way, room]);
    }
    state.set(room, 'done');
  };
  for (const room of Object.keys(ROOMS)) visit(room, []);
});
