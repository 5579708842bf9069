#!/usr/bin/env node
/**
 * The command line: one file for each command in `commands/`. A command's file only declares; what does the work is imported
 * when the command runs, so that `check` never loads the FFI library and `--help` is quick.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { EXIT } from '../base/errors.ts';
import { register as check } from './commands/check.ts';
import { register as clean } from './commands/clean.ts';
import { register as demo } from './commands/demo.ts';
import { register as doctor } from './commands/doctor.ts';
import { register as drain } from './commands/drain.ts';
import { register as explain } from './commands/explain.ts';
import { register as history } from './commands/history.ts';
import { register as importFrom } from './commands/import.ts';
import { register as plan } from './commands/plan.ts';
import { register as reload } from './commands/reload.ts';
import { register as replay } from './commands/replay.ts';
import { register as run } from './commands/run.ts';
import { register as schema } from './commands/schema.ts';
import { register as status } from './commands/status.ts';
import { register as table } from './commands/table.ts';
import { register as top } from './commands/top.ts';
import { register as trace } from './commands/trace.ts';
import { register as upgrade } from './commands/upgrade.ts';
import { register as worker } from './commands/worker.ts';
import { printError } from './render/error.ts';

/** In the order of `--help`. */
const COMMANDS: readonly ((program: Command) => void)[] = [
  run,
  status,
  top,
  drain,
  plan,
  reload,
  check,
  table,
  explain,
  trace,
  history,
  doctor,
  replay,
  importFrom,
  schema,
  clean,
  upgrade,
  worker,
  demo,
  // A new command: import its `register` above and add a line here.
];

const EXAMPLES = `
Examples:
  gue-director check director.yaml                 is this file right? errors with line and column
  gue-director table --config director.yaml        who gets which share of the flows
  gue-director run --config director.yaml          direct traffic (root, or CAP_NET_ADMIN and CAP_NET_RAW)
  gue-director status                              what does the running director say?

Exit codes: 0 ok, 1 failed, 2 wrong usage, 69 daemon unreachable, 77 missing privilege, 78 wrong configuration.
Each command has its own help: gue-director check --help`;

export function createProgram(): Command {
  const program = new Command('gue-director')
    .description('A layer-4 traffic director: Maglev steering and GUE encapsulation, in user space.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .showSuggestionAfterError(true)
    .showHelpAfterError('(gue-director --help lists commands and options)')
    .addHelpText('after', EXAMPLES)
    // Commander would exit with 1 for wrong usage.
    .exitOverride();
  for (const register of COMMANDS) register(program);
  return program;
}

/** Two levels up in the source tree and in dist/ alike. */
function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

async function main(): Promise<void> {
  // `gue-director schema | head`: a reader that has enough is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  try {
    await createProgram().parseAsync(process.argv);
  } catch (error) {
    process.exitCode = error instanceof CommanderError ? usageExitCode(error) : printError(error, process.stderr);
  }
}

/** Commander has printed its message. Help and version that were asked for are no failure. */
function usageExitCode(error: CommanderError): number {
  return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
}

await main();
