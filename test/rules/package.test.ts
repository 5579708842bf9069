// Nothing to build: no dependency may need an install script or a compiler, and every licence lets us ship.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PACKAGE_HOMES } from './rooms.ts';
import { read, root } from './sources.ts';

interface LockedPackage {
  readonly dev?: boolean;
  readonly license?: string;
  readonly hasInstallScript?: boolean;
  readonly optional?: boolean;
  readonly optionalDependencies?: Record<string, string>;
}

const manifest = JSON.parse(read('package.json')) as {
  license: string;
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};
const locked = JSON.parse(read('package-lock.json')).packages as Record<string, LockedPackage>;

/**
 * Packages that bring an install script which is not needed, and why it is not: `npm ci --ignore-scripts` gives a working tree
 * (the Dockerfile and continuous integration install that way).
 */
const SCRIPTS_NOT_NEEDED: Record<string, { readonly reason: string; readonly binary: string }> = {
  koffi: {
    reason:
      'the script only looks for a prebuilt module and compiles if there is none; the module comes as an optional dependency',
    binary: '@koromix/koffi-linux-x64',
  },
  esbuild: {
    reason: 'development only (tsx); the script replaces a wrapper by the binary that comes as an optional dependency',
    binary: '@esbuild/linux-x64',
  },
  fsevents: { reason: 'macOS only, optional', binary: '' },
};

test('no dependency needs an install script', () => {
  for (const [path, entry] of Object.entries(locked)) {
    if (!entry.hasInstallScript || path === '') continue;
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const known = SCRIPTS_NOT_NEEDED[name];
    assert.ok(known, `${name} has an install script: choose a package without one, or show here why it is not needed`);
    if (known.binary !== '')
      assert.ok(locked[`node_modules/${known.binary}`], `${name}: ${known.binary} is not in the lock file`);
  }
});

test('the lock file names every optional package: npm ci refuses it otherwise', () => {
  // A registry mirror without another platform's package makes npm write a lock file that npm ci then finds incomplete.
  const missing = Object.values(locked)
    .flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}))
    .filter((name) => locked[`node_modules/${name}`] === undefined);
  assert.deepEqual(missing, []);
});

test('the prebuilt modules are in use: nothing was compiled here', () => {
  assert.equal(existsSync(join(root, 'node_modules/koffi/build')), false, 'koffi was compiled on this machine');
  if (process.arch === 'x64') assert.ok(existsSync(join(root, 'node_modules/@koromix/koffi-linux-x64')));
});

test('every dependency has a home and an exact version', () => {
  assert.deepEqual(Object.keys(manifest.dependencies).sort(), Object.keys(PACKAGE_HOMES).sort());
  for (const version of Object.values({ ...manifest.dependencies, ...manifest.devDependencies }))
    assert.match(version, /^\d+\.\d+\.\d+$/);
});

test('Apache-2.0, and only licences that go with it', () => {
  const allowed = [
    'MIT',
    'ISC',
    'Apache-2.0',
    'BSD-2-Clause',
    'BSD-3-Clause',
    '0BSD',
    'BlueOak-1.0.0',
    'MIT OR Apache-2.0',
    'Unlicense',
  ];
  // Files stay what they are and are not shipped: axe-core, which looks at a page.
  const toTestWith = ['MPL-2.0'];
  assert.equal(manifest.license, 'Apache-2.0');
  assert.match(read('LICENSE'), /Apache License\s+Version 2\.0/);
  const strange = Object.entries(locked)
    .filter(
      ([path, entry]) =>
        path !== '' && !(entry.dev === true ? [...allowed, ...toTestWith] : allowed).includes(entry.license ?? 'none'),
    )
    .map(([path, entry]) => `${path}: ${entry.license ?? 'none'}`);
  assert.deepEqual(strange, []);
});
