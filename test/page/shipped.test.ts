// The page's script and style are no modules: the compiler does not carry them into dist/, and nothing would miss them before somebody looks.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { filesBelow, read, root } from '../rules/sources.ts';

const ASSETS = 'src/admin/page/assets';
const COPY = `cp -R ${ASSETS} dist/admin/page/`;

test('the build and the image carry the assets, and the package carries the build', () => {
  const { scripts, files } = JSON.parse(read('package.json')) as { scripts: Record<string, string>; files: string[] };
  assert.ok(scripts.build.endsWith(` && ${COPY}`), scripts.build);
  assert.ok(read('Dockerfile').includes(` && ${COPY}\n`));
  assert.ok(files.includes('dist'));
});

test('every asset that a page names is there, and small; what was built is what is here', () => {
  const named = [...read('src/admin/page/routes.ts').matchAll(/file: '([^']+)'/g)].map(([, file]) => file).sort();
  assert.deepEqual(readdirSync(`${root}/${ASSETS}`).sort(), named);
  assert.ok(Buffer.byteLength(read(`${ASSETS}/page.js`)) < 20_000);
  if (process.env.GUE_DIRECTOR_BUILT !== '1') return;
  for (const path of filesBelow(ASSETS, ''))
    assert.equal(readFileSync(`${root}/${path.replace('src/', 'dist/')}`, 'utf8'), read(path), path);
});

test('the page asks nobody but its director: no address in what it is made of', () => {
  for (const path of [...filesBelow(ASSETS, ''), ...filesBelow('src/admin/page', '.ts')]) {
    if (path.endsWith('.test.ts')) continue;
    const addresses = [...read(path).matchAll(/\b(?:https?:)?\/\/[a-z0-9.-]+\.[a-z]+[^\s'")]*/g)].map(([address]) => address);
    // The name of SVG is no place to go to.
    assert.deepEqual(
      addresses.filter((address) => address !== 'http://www.w3.org/2000/svg'),
      [],
      path,
    );
  }
});
