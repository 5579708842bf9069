import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FileWatch } from './watch-file.ts';

function rig(t: { after(done: () => void): void }) {
  const folder = mkdtempSync(join(tmpdir(), 'gd-watch-'));
  const told: string[] = [];
  const watch = new FileWatch({ changed: (path) => told.push(path), every: 1 << 30 });
  t.after(() => {
    watch.close();
    rmSync(folder, { recursive: true });
  });
  return { folder, told, watch };
}

test('each way in which editors and orchestrators replace a file is told once, when it has settled', (t) => {
  const { folder, told, watch } = rig(t);
  const file = join(folder, 'director.yaml');
  writeFileSync(file, 'a');
  watch.watch([file]);
  watch.look();
  watch.look();
  assert.deepEqual(told, [], 'what is there at the start is known');

  const steps: readonly [string, () => void][] = [
    ['written in place', () => writeFileSync(file, 'ab')],
    ['of the same length', () => writeFileSync(file, 'ba')],
    [
      'written beside and renamed',
      () => {
        writeFileSync(`${file}.new`, 'ba');
        renameSync(`${file}.new`, file);
      },
    ],
    [
      'moved away and written anew',
      () => {
        renameSync(file, `${file}~`);
        writeFileSync(file, 'ab');
      },
    ],
    ['removed', () => unlinkSync(file)],
    ['there again', () => writeFileSync(file, 'ab')],
  ];
  for (const [what, step] of steps) {
    told.length = 0;
    step();
    watch.look();
    assert.deepEqual(told, [], `${what}: it may still be written`);
    watch.look();
    watch.look();
    assert.deepEqual(told, [file], what);
  }
});

test('a symlink two steps above the file that is turned, as a ConfigMap does it', (t) => {
  const { folder, told, watch } = rig(t);
  for (const version of ['v1', 'v2']) {
    mkdirSync(join(folder, version));
    writeFileSync(join(folder, version, 'director.yaml'), 'same');
  }
  symlinkSync('v1', join(folder, '..data'));
  symlinkSync('..data/director.yaml', join(folder, 'director.yaml'));
  const file = join(folder, 'director.yaml');
  watch.watch([file]);
  symlinkSync('v2', join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  watch.look();
  watch.look();
  assert.deepEqual(told, [file]);
});

test('a file that is written again and again is told when that ends', (t) => {
  const { folder, told, watch } = rig(t);
  const file = join(folder, 'a');
  watch.watch([file]);
  for (let i = 1; i < 5; i++) {
    writeFileSync(file, 'x'.repeat(i));
    watch.look();
  }
  assert.deepEqual(told, []);
  watch.look();
  assert.deepEqual(told, [file]);
  watch.watch([]);
  writeFileSync(file, '');
  watch.look();
  watch.look();
  assert.deepEqual(told, [file], 'not watched any more');
});
