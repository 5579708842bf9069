// The status page in a real browser. The tests themselves lie in test/page; this runs all of them.

import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import type { Line, Outcome, Scale } from './line.ts';

const root = resolve(import.meta.dirname, '../..');
const FILES = ['test/page/', 'src/admin/page/'];
const REPEATS: Readonly<Record<Scale, number>> = { full: 3, scaled: 1 };

async function run(scale: Scale): Promise<Outcome> {
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'NODE_TEST_CONTEXT'));
  let tests = 0;
  for (let round = 0; round < REPEATS[scale]; round++) {
    const result = spawnSync(process.execPath, ['--import', 'tsx', join(root, 'test/run.ts'), ...FILES], {
      cwd: root,
      encoding: 'utf8',
      env: { ...environment, CI: 'true' },
      maxBuffer: 64 << 20,
    });
    tests += Number(/^(\d+) passed/m.exec(result.stdout)?.[1] ?? 0);
    if (result.status !== 0) return { passed: false, figures: { round, output: result.stdout.slice(-4000) + result.stderr } };
  }
  return { passed: tests > 0, figures: { rounds: REPEATS[scale], 'tests passed': tests, skipped: 0 } };
}

export const statusPage: Line = {
  name: 'status-page',
  claim:
    'The status page in headless Chromium, light, dark and on a phone: every interaction tested, no console error, no request to another origin, usable by keyboard, nothing that axe-core objects to; without JavaScript the tables and the explain box are there.',
  twin: 'test/page/page.test.ts',
  repeatsTwin: true,
  run,
};
