// A User-Mode Linux guest that runs one script to its end: for what the machine's own kernel can not show. The host's file system is its
// read-only root; what must be written goes to /run.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { showModules } from './guest.ts';

const PATIENCE_MS = 90_000;

/** Boots, runs the lines of shell as first process, powers off. Resolves to all that the console said; a guest that takes longer is killed. */
export async function runInGuest(
  lines: readonly string[],
  kernelParameters: readonly string[] = [],
  patience = PATIENCE_MS,
): Promise<string> {
  showModules();
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-guest-'));
  try {
    const init = join(folder, 'init.sh');
    const script = [
      '#!/bin/sh',
      'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; export TMPDIR=/run',
      ...lines,
      'echo o > /proc/sysrq-trigger; sleep 5',
      '',
    ];
    writeFileSync(init, script.join('\n'), { mode: 0o755 });
    const kernel = ['mem=512M', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${init}`, 'con=null', 'con0=fd:0,fd:1', 'quiet'];
    const child = spawn('linux.uml', [...kernel, ...kernelParameters, `uml_dir=${folder}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: folder },
      detached: true,
    });
    // The kernel is several processes, all of which hold its console: they end together.
    const limit = setTimeout(() => process.kill(-(child.pid as number), 'SIGKILL'), patience);
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    await once(child, 'close');
    clearTimeout(limit);
    return said;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
