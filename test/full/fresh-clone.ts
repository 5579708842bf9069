// What a stranger does: clone, and type the README's two commands.

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import type { Line, Outcome, Scale } from './line.ts';

const root = resolve(import.meta.dirname, '../..');

interface Ended {
  readonly status: number | null;
  readonly output: string;
  readonly seconds: number;
}

function type(folder: string, command: string): Ended {
  const started = performance.now();
  // Nothing of this run may help: no runner's variables, no test context, no local programs on PATH.
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|GUE_DIRECTOR_|CI$|INIT_CWD$)/i.test(name)),
  );
  environment.PATH = (process.env.PATH ?? '')
    .split(':')
    .filter((part) => !part.includes('node_modules'))
    .join(':');
  const result = spawnSync('sh', ['-c', command], { cwd: folder, encoding: 'utf8', env: environment, maxBuffer: 64 << 20 });
  return {
    status: result.status,
    output: `${result.stdout}${result.stderr}`,
    seconds: Math.round((performance.now() - started) / 1000),
  };
}

/** A clone of the last commit; a copy of the tree where there is no git (an exported archive). */
function clone(into: string): string {
  if (existsSync(join(root, '.git')) && spawnSync('git', ['clone', '--quiet', root, into]).status === 0) return 'git clone';
  const left = new Set(['node_modules', 'dist', '.git', 'tmp']);
  cpSync(root, into, { recursive: true, filter: (path) => path === root || !left.has(basename(path)) });
  return 'copy of the tree';
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').slice(-1)[0] ?? '';
}

async function run(scale: Scale): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'gue-director-clone-'));
  try {
    const tree = join(folder, 'gue-director');
    const figures: Record<string, number | string> = { source: clone(tree) };
    const demo = type(tree, 'npm ci && npm run demo');
    figures['npm ci && npm run demo'] =
      demo.status === 0
        ? `ok in ${demo.seconds} s: ${lastLine(demo.output)}`
        : `exit ${demo.status}: ${demo.output.slice(-2000)}`;
    let passed = demo.status === 0;
    if (scale === 'full') {
      const suite = type(tree, 'npm ci && npm test');
      figures['npm ci && npm test'] =
        suite.status === 0
          ? `ok in ${suite.seconds} s: ${lastLine(suite.output)}`
          : `exit ${suite.status}: ${suite.output.slice(-4000)}`;
      passed &&= suite.status === 0;
    }
    const status = spawnSync('git', ['status', '--porcelain'], { cwd: tree, encoding: 'utf8' });
    if (figures.source === 'git clone') {
      figures['files changed by the commands'] = status.stdout.trim() || 'none';
      passed &&= status.stdout.trim() === '';
    }
    return { passed, figures };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export const freshClone: Line = {
  name: 'fresh-clone',
  claim:
    "Fresh clone, Debian 12 with iproute2 and Node 20, root: both README commands succeed, nothing else typed; the demo's transfers complete with right content hashes over IPv4 and IPv6.",
  twin: 'test/full/fresh-clone.test.ts',
  run,
};
