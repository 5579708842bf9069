/**
 * Coded errors: every failure an operator can meet has a stable code, one sentence, and a hint that says what to do next.
 * Exceptions are for configuration and start-up; the per-packet path uses verdicts and drop reasons instead.
 */

/** Process exit codes, promised in docs/architecture.md. */
export const EXIT = { OK: 0, FAILED: 1, USAGE: 2, UNREACHABLE: 69, PRIVILEGE: 77, CONFIG: 78 } as const;

/** An error with a stable code (`GD_<ROOM>_<WHAT>`), an exit code, and optionally a hint for the next step. */
export class CodedError extends Error {
  readonly code: string;
  readonly exitCode: number;
  readonly hint: string;

  constructor(code: string, message: string, options: { exitCode?: number; hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CodedError';
    this.code = code;
    this.exitCode = options.exitCode ?? EXIT.FAILED;
    this.hint = options.hint ?? '';
  }
}
