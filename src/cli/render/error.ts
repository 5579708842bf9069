/** Errors as people see them: one sentence, its code, the next step. The stack only of what nobody expected. */
import { CodedError, EXIT } from '../../base/errors.ts';
import type { ConfigError, Problem } from '../../config/problem.ts';
import { type Paint, paintFor } from './paint.ts';

interface Output {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** More than this at once helps nobody. `check --json` has them all. */
const MOST_PROBLEMS = 100;

/** Prints `error` and returns the exit code it asks for. */
export function printError(error: unknown, output: Output): number {
  const paint = paintFor(output);
  if (!(error instanceof CodedError)) {
    output.write(
      `${paint.red('unexpected error:')} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    output.write('This is a fault of gue-director, not of its configuration or use. Please report it with the lines above.\n');
    return EXIT.FAILED;
  }
  if (isConfigError(error)) {
    output.write(`${problemLines(error.problems, paint)}\n`);
    return error.exitCode;
  }
  output.write(`${paint.red('error:')} ${error.message} ${paint.dim(`[${error.code}]`)}\n`);
  if (error.hint !== '') output.write(`${paint.bold('hint:')} ${error.hint}\n`);
  return error.exitCode;
}

/** Not instanceof: that would load the configuration room, and its parsers, for every command. */
function isConfigError(error: CodedError): error is ConfigError {
  return Array.isArray((error as Partial<ConfigError>).problems);
}

/** `file:line:column path message [CODE]`, one line each; a warning says that it is one. */
export function problemLines(problems: readonly Problem[], paint: Paint): string {
  const lines = problems.slice(0, MOST_PROBLEMS).map((problem) => {
    const place = paint.bold(`${problem.file}:${problem.line}:${problem.column}`);
    const path = problem.path === '' ? '' : `${problem.path} `;
    const message = problem.severity === 'warning' ? `${paint.yellow('warning:')} ${problem.message}` : problem.message;
    return `${place} ${path}${message} ${paint.dim(`[${problem.code}]`)}`;
  });
  if (problems.length > MOST_PROBLEMS) lines.push(`… and ${problems.length - MOST_PROBLEMS} more`);
  return lines.join('\n');
}
