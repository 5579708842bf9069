// Some of the suite's own files, several times over: a line whose tests are the proof.

import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import type { Outcome } from './line.ts';

const root = resolve(import.meta.dirname, '../..');

/** Runs the test files whose paths begin with one of `files`, `rounds` times, each time whole: a part that is missing fails. Stops at the first failure. */
export function suiteRounds(files: readonly string[], rounds: number): Outcome {
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'NODE_TEST_CONTEXT'));
  let tests = 0;
  for (let round = 0; round < rounds; round++) {
    const result = spawnSync(process.execPath, ['--import', 'tsx', join(root, 'test/run.ts'), ...files], {
      cwd: root,
      encoding: 'utf8',
      env: { ...environment, CI: 'true' },
      maxBuffer: 64 << 20,
    });
    tests += Number(/^(\d+) passed/m.exec(result.stdout)?.[1] ?? 0);
    if (result.status !== 0) return { passed: false, figures: { round, output: result.stdout.slice(-4000) + result.stderr } };
  }
  return { passed: tests > 0, figures: { rounds, 'tests passed': tests, skipped: 0 } };
}
