// What the README promises: two commands on a fresh machine, and a way to every page.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { filesBelow, read, root } from './sources.ts';

const scripts = JSON.parse(read('package.json')).scripts as Record<string, string>;

/** Targets of `[text](target)` in a page, relative to the repository; web addresses and anchors left out. */
function linksOf(page: string): string[] {
  return [...read(page).matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)]
    .map((match) => match[1])
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => join(dirname(page), target));
}

test('the README names the two commands, and both exist', () => {
  const text = read('README.md');
  assert.match(text, /npm ci && npm run demo/);
  assert.match(text, /npm ci && npm test/);
  assert.ok(scripts.demo && scripts.test);
});

test('every page of docs/ is linked from the README or from docs/README.md', () => {
  const index = ['README.md', 'docs/README.md'].filter((page) => existsSync(join(root, page)));
  const linked = new Set(index.flatMap(linksOf));
  const pages = filesBelow('docs', '.md').filter((page) => !page.startsWith('docs/evidence/') && page !== 'docs/README.md');
  assert.deepEqual(
    pages.filter((page) => !linked.has(page)),
    [],
  );
});

test('links inside the repository lead somewhere', () => {
  const pages = ['README.md', ...filesBelow('docs', '.md'), ...filesBelow('src', '.md'), ...filesBelow('test', '.md')];
  const broken = pages.flatMap((page) =>
    linksOf(page)
      .filter((target) => !existsSync(join(root, target)))
      .map((target) => `${page} → ${target}`),
  );
  assert.deepEqual(broken, []);
});

test('commands shown in the pages exist in package.json', () => {
  const pages = ['README.md', ...filesBelow('docs', '.md')];
  const unknown = pages.flatMap((page) =>
    [...read(page).matchAll(/npm run (?:--silent )?([a-z][a-z:-]*)/g)]
      .map((match) => match[1])
      .filter((name) => scripts[name] === undefined),
  );
  assert.deepEqual(unknown, []);
});
