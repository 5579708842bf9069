// The C programs of the bulk bench, compiled once per run into a temporary folder.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findCommand } from '../../test/needs.ts';

export interface FloorPrograms {
  readonly encapsulate: string;
  readonly decapsulate: string;
}

/** What to do for the floor on a machine without a compiler. */
export const COMPILER_HINT = 'apt-get install -y gcc libc6-dev';

/** Compiles both with the system's `cc -O2`; null without a compiler that works (one without its headers says so on standard error). */
export function buildFloor(): FloorPrograms | null {
  const compiler = findCommand('cc') ?? findCommand('gcc');
  if (compiler === null) return null;
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-floor-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const build = (name: string): string => {
    const program = join(folder, name);
    execFileSync(compiler, ['-O2', '-Wall', '-Wextra', '-o', program, join(import.meta.dirname, `${name}.c`)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return program;
  };
  try {
    return { encapsulate: build('encapsulate'), decapsulate: build('decapsulate') };
  } catch (error) {
    console.error(`bench/floor does not compile: ${(error as Error).message}`);
    return null;
  }
}
