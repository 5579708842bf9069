// The C programs of the benches, compiled once per run into a temporary folder.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SMALL_STRIDE } from '../../src/base/arena.ts';
import { ringShape } from '../../src/io/packet/ring.ts';
import { MOST_COLUMNS, RECEIVE_RING, TRANSMIT_RING } from '../../src/io/xdp/port.ts';
import * as layout from '../../src/pipeline/layout.ts';
import { findCommand } from '../../test/needs.ts';

export interface FloorPrograms {
  readonly encapsulate: string;
  readonly decapsulate: string;
}

/** What to do for the floor on a machine without a compiler. */
export const COMPILER_HINT = 'apt-get install -y gcc libc6-dev';

let folder: string | null = null;

/**
 * Compiles bench/floor/NAME.c for each name with the system's `cc -O2`; null without a compiler that works (one without its headers says so on
 * standard error). `defines`: constants that the program has from us.
 */
export function compileFloor(names: readonly string[], defines: Readonly<Record<string, number>> = {}): string[] | null {
  const compiler = findCommand('cc') ?? findCommand('gcc');
  if (compiler === null) return null;
  if (folder === null) {
    const made = mkdtempSync(join(tmpdir(), 'gue-director-floor-'));
    process.once('exit', () => rmSync(made, { recursive: true, force: true }));
    folder = made;
  }
  const into = folder;
  const options = Object.entries(defines).map(([name, value]) => `-D${name}=${value}`);
  try {
    return names.map((name) => {
      const program = join(into, name);
      const source = join(import.meta.dirname, `${name}.c`);
      execFileSync(compiler, ['-O2', '-Wall', '-Wextra', ...options, '-o', program, source], {
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      return program;
    });
  } catch (error) {
    console.error(`bench/floor does not compile: ${(error as Error).message}`);
    return null;
  }
}

/** The programs of the bulk bench. */
export function buildFloor(): FloorPrograms | null {
  const programs = compileFloor(['encapsulate', 'decapsulate']);
  return programs === null ? null : { encapsulate: programs[0], decapsulate: programs[1] };
}

/** The programs of the benches forward and latency. */
export function buildForwarding(): { readonly forward: string; readonly traffic: string } | null {
  const programs = compileFloor(['forward', 'traffic']);
  return programs === null ? null : { forward: programs[0], traffic: programs[1] };
}

export interface LinkPrograms {
  readonly packet: string;
  readonly xdp: string;
  readonly sender: string;
}

/** The programs of the bench forward for drivers that write link headers, with the sizes of ours. */
export function buildLinkForwarding(): LinkPrograms | null {
  const ring = ringShape('frames')!;
  const packet = compileFloor(['forward-packet', 'link-sender'], {
    BLOCK: ring.blockBytes,
    BLOCKS: ring.blocks,
    FRAME: ring.frameBytes,
    RESERVE: ring.reserve,
  });
  const xdp = compileFloor(['forward-xdp'], {
    FRAME: SMALL_STRIDE,
    RECEIVE: RECEIVE_RING,
    TRANSMIT: TRANSMIT_RING,
    COLUMNS: MOST_COLUMNS,
  });
  return packet === null || xdp === null ? null : { packet: packet[0], sender: packet[1], xdp: xdp[0] };
}

/** The packet path in C (pipeline.c), which reads snapshots of our layout. */
export function buildPipelineFloor(): string | null {
  const numbers = Object.entries(layout).filter((entry): entry is [string, number] => typeof entry[1] === 'number');
  return compileFloor(['pipeline'], Object.fromEntries(numbers))?.[0] ?? null;
}
