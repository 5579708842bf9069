// What is left after a director ends, politely or not. The tests themselves lie with the daemon and the host; this runs all of them.

import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import type { Line, Outcome, Scale } from './line.ts';

const root = resolve(import.meta.dirname, '../..');
/** Beginnings of the paths of the test files. */
const FILES = ['test/daemon/', 'test/host/', 'src/daemon/'];
const REPEATS: Readonly<Record<Scale, number>> = { full: 5, scaled: 1 };

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

export const lifecycle: Line = {
  name: 'lifecycle',
  claim:
    'SIGTERM and Ctrl-C leave no device, route, rule or process; kill -9 leaves only what gue-director clean lists; no packet to the VIP is bounced afterwards; an error in a forwarding thread is never silent.',
  twin: 'test/daemon/run.test.ts',
  repeatsTwin: true,
  run,
};
