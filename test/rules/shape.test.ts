// Size and names of files: small, and named after what they are.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filesBelow, read } from './sources.ts';

const MAX_LINES = 600;

test(`no source file has more than ${MAX_LINES} lines`, () => {
  const long = ['src', 'test', 'bench']
    .flatMap((folder) => filesBelow(folder, '.ts'))
    .map((path) => ({ path, lines: read(path).split('\n').length }))
    .filter(({ lines }) => lines > MAX_LINES);
  assert.deepEqual(long, []);
});

test('no file is named after nothing', () => {
  const empty = /^(utils?|helpers?|managers?|commons?|misc|stuff|shared|lib)$|(^|-)(utils?|helpers?|manager)$/;
  const vague = ['src', 'test', 'bench']
    .flatMap((folder) => filesBelow(folder, '.ts'))
    .filter((path) => path.split('/').some((part) => empty.test(part.replace(/(\.test)?\.ts$/, ''))));
  assert.deepEqual(vague, []);
});

test('file names are lower case with hyphens', () => {
  const odd = ['src', 'test', 'bench']
    .flatMap((folder) => filesBelow(folder, '.ts'))
    .filter((path) => !/^[a-z0-9/-]+(\.test)?\.ts$/.test(path));
  assert.deepEqual(odd, []);
});

test('no mark of unfinished work is left', () => {
  const mark = /\b(TODO|FIXME|XXX|HACK)\b/;
  const found = ['src', 'bench', 'docs', 'config', 'deploy']
    .flatMap((folder) => filesBelow(folder, ''))
    // A picture's bytes say anything.
    .filter((path) => !path.endsWith('.png'))
    .flatMap((path) =>
      read(path)
        .split('\n')
        .map((line, index) => ({ at: `${path}:${index + 1}`, line })),
    )
    .filter(({ line }) => mark.test(line))
    .map(({ at }) => at);
  assert.deepEqual(found, []);
});
