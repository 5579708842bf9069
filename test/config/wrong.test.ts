// Wrong configurations: each file of wrong/ gives exactly the lines of wrong/expected.txt, and nothing but a ConfigError.
// After a wanted change of a message: UPDATE=1 node --import tsx --test test/config/wrong.test.ts, then read the difference.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { loadText } from '../../src/config/load.ts';
import { ConfigError, formatProblem } from '../../src/config/problem.ts';
import { readSource } from '../../src/config/source.ts';

const folder = new URL('wrong/', import.meta.url).pathname;
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.yaml'))
  .sort();

/** Lines as `check` prints them, with the file's name alone. */
function problemsOf(name: string): { lines: string[]; error: ConfigError } {
  try {
    loadText(readSource(folder + name), folder + name);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const lines = error.problems.map((problem) => {
      const line = formatProblem({ ...problem, file: name });
      return problem.severity === 'warning' ? `W ${line}` : line;
    });
    return { lines, error };
  }
  assert.fail(`${name} was accepted`);
}

const expected = new Map<string, string[]>(files.map((name) => [name, []]));
for (const line of readFileSync(`${folder}expected.txt`, 'utf8').split('\n')) {
  const name = /^(?:W )?([^:]+):/.exec(line)?.[1];
  if (name !== undefined) expected.get(name)?.push(line);
}

if (process.env.UPDATE === '1') {
  writeFileSync(`${folder}expected.txt`, `${files.flatMap((name) => problemsOf(name).lines).join('\n')}\n`);
} else {
  for (const name of files) {
    test(name, () => {
      const { lines, error } = problemsOf(name);
      assert.deepEqual(lines, expected.get(name));
      assert.equal(error.exitCode, 78);
      const errors = error.problems.filter((problem) => problem.severity === 'error');
      assert.ok(errors.length > 0);
      for (const problem of error.problems) {
        assert.match(problem.code, /^GD_CONFIG_[A-Z_]+$/);
        assert.ok(problem.line >= 1 && problem.column >= 1);
      }
    });
  }
}

test('there are at least 25, each with an error of its own', () => {
  assert.ok(files.length >= 25, `${files.length}`);
  const firsts = files.map((name) =>
    expected
      .get(name)
      ?.find((line) => !line.startsWith('W '))
      ?.replace(/^[^ ]+ /, ''),
  );
  const twice = firsts.filter((line, i) => firsts.indexOf(line) !== i && line !== undefined);
  assert.deepEqual(twice, []);
});
