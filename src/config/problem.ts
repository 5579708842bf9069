/** A problem has a place, a path, a sentence and a code; a wrong configuration file has a list of them. */
import { CodedError, EXIT } from '../base/errors.ts';

/** `error` refuses the file; `warning` does not. */
export type Severity = 'error' | 'warning';

export interface Problem {
  /** The file as it was named on the command line. */
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  /** 1-based, in UTF-16 units as editors count them. */
  readonly column: number;
  /** `services[0].port`, `pools.web.backends[2].address`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
  /** `GD_CONFIG_<WHAT>`: stable, for tools. */
  readonly code: string;
  readonly severity: Severity;
}

/** Keys and indices from the root of the document. */
export type Path = readonly (string | number)[];

/** `['services', 0, 'port']` → `services[0].port`. */
export function formatPath(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else text += text === '' ? part : `.${part}`;
  }
  return text;
}

/** The house's one line for a problem: `file:line:column path message [CODE]`. */
export function formatProblem(problem: Problem): string {
  const path = problem.path === '' ? '' : `${problem.path} `;
  return `${problem.file}:${problem.line}:${problem.column} ${path}${problem.message} [${problem.code}]`;
}

/** In the order of the file; at the same place, by path and code, so that output never depends on the order of the checks. */
export function sortProblems(problems: readonly Problem[]): Problem[] {
  return [...problems].sort(
    (a, b) => a.line - b.line || a.column - b.column || compareText(a.path, b.path) || compareText(a.code, b.code),
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A configuration that is refused: exit code 78, every problem with its place. */
export class ConfigError extends CodedError {
  readonly problems: readonly Problem[];

  /** `problems` holds at least one of severity error; they are sorted here. */
  constructor(file: string, problems: readonly Problem[]) {
    const sorted = sortProblems(problems);
    const errors = sorted.filter((problem) => problem.severity === 'error');
    const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
    super('GD_CONFIG_INVALID', `the configuration is refused: ${formatProblem(errors[0])}${more}`, {
      exitCode: EXIT.CONFIG,
      hint: `see every problem with: gue-director check ${file}`,
    });
    this.name = 'ConfigError';
    this.problems = sorted;
  }
}
