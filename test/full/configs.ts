// Every wrong configuration in test/config/wrong, through the command as an operator types it.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { built } from '../uml/director.ts';
import type { Line, Outcome, Scale } from './line.ts';

const folder = resolve(import.meta.dirname, '../config/wrong');
const SCALED_STEP = 10;

interface Problem {
  readonly line: number;
  readonly column: number;
  readonly path: string;
  readonly message: string;
  readonly code: string;
  readonly severity: string;
}

function check(file: string): { status: number | null; problems: Problem[]; said: string } {
  const result = spawnSync(process.execPath, [built('cli/main'), 'check', '--json', file], { encoding: 'utf8' });
  try {
    const { problems } = JSON.parse(result.stdout) as { problems: Problem[] };
    return { status: result.status, problems: problems.filter((problem) => problem.severity === 'error'), said: result.stderr };
  } catch {
    return { status: result.status, problems: [], said: `${result.stdout}${result.stderr}` };
  }
}

/** Traced besides the right example: a name to resolve, addresses to listen on, a missing file, what YAML could fetch, a broken text. */
const TRACED = [
  'host-name',
  'listen-name',
  'no-such-file',
  'service-contains-backend',
  'several',
  'unknown-driver',
  'yaml-syntax',
  'yaml-tag',
];

/** System calls of `check` that make or use a socket; Node's own pipes to its parent are not sockets here. */
function networkCalls(file: string): string {
  const scratch = mkdtempSync(join(tmpdir(), 'gue-director-strace-'));
  try {
    const trace = join(scratch, 'trace');
    const traced = [
      '-f',
      '-qq',
      '-e',
      'trace=socket,connect,bind,sendto,sendmsg,ioctl,exit_group',
      '-e',
      'signal=none',
      '-o',
      trace,
    ];
    // Output to files: towards a pipe from Node the child would see a socket pair.
    const command = [...traced, process.execPath, built('cli/main'), 'check', file];
    spawnSync('sh', ['-c', 'exec strace "$@" > /dev/null 2>&1 < /dev/null', 'sh', ...command], { stdio: 'ignore' });
    const calls = readFileSync(trace, 'utf8').split('\n');
    // A trace that does not hold the end of the check shows nothing.
    if (!calls.some((call) => /exit_group\((0|78)\)/.test(call))) throw new Error(`check ${file} was not traced to its end`);
    return calls.filter((call) => /\b(socket|connect|bind|sendto|sendmsg)\(|ioctl\(.*SIOC|ioctl\(.*TUN/.test(call)).join('; ');
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function run(scale: Scale): Promise<Outcome> {
  const wrong: string[] = [];
  const names = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
  const chosen = scale === 'full' ? names : names.filter((_, index) => index % SCALED_STEP === 0);
  const messages = new Map<string, string>();
  const codes = new Set<string>();
  let several = 0;
  for (const name of chosen) {
    const { status, problems, said } = check(join(folder, name));
    if (status !== 78) wrong.push(`${name}: exit code ${status} (${said.trim()})`);
    if (problems.length === 0) wrong.push(`${name}: no problem reported`);
    if (problems.length > 1) several++;
    for (const problem of problems) {
      codes.add(problem.code);
      if (!(problem.line >= 1 && problem.column >= 1)) wrong.push(`${name}: no place`);
      if (!/^GD_CONFIG_[A-Z0-9_]+$/.test(problem.code)) wrong.push(`${name}: code ${problem.code}`);
    }
    const text = problems.map((problem) => `${problem.line}:${problem.column} ${problem.path} ${problem.message}`).join('\n');
    const twin = messages.get(text);
    if (twin !== undefined) wrong.push(`${name} and ${twin} give the same answer`);
    messages.set(text, name);
  }
  const missing = check(join(folder, 'there-is-no-such-file.yaml'));
  if (missing.status !== 78) wrong.push(`missing file: exit code ${missing.status}`);
  const example = resolve(import.meta.dirname, '../../config/director.yaml');
  const traced = [example, ...TRACED.slice(0, scale === 'full' ? undefined : 2).map((name) => join(folder, `${name}.yaml`))];
  let calls = '';
  for (const file of traced) {
    const made = networkCalls(file);
    calls += made;
    if (made !== '') wrong.push(`check ${file} touched the network: ${made}`);
  }
  return {
    passed: wrong.length === 0,
    figures: {
      'wrong files': chosen.length,
      'different error codes': codes.size,
      'files with several errors': several,
      'checks traced, right and wrong': traced.length,
      'network calls of check': calls || 'none',
      complaints: wrong.slice(0, 8).join(' | ') || 'none',
    },
  };
}

export const configs: Line = {
  name: 'configs',
  claim:
    'Twenty-five wrong configs and more each give their own error with line and column and exit code 78; check never touches the network.',
  twin: 'test/full/configs.test.ts',
  run,
};
