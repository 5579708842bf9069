/** Why a running director did not do what it was asked to: problems of a file as `check` prints them, anything else as an error. */
import type { Refusal } from '../../control/reloader.ts';
import { problemLines } from './error.ts';
import type { Paint } from './paint.ts';

/** `body`: its answer. */
export function refusalText(body: Readonly<Record<string, unknown>>, paint: Paint): string {
  const { refusal, message } = body as { refusal?: Refusal | null; message?: string };
  if (refusal === undefined || refusal === null) return `${paint.red('error:')} ${message ?? 'the director refused'}\n`;
  const { problems, code, hint } = refusal;
  const what =
    problems.length > 0 ? problemLines(problems, paint) : `${paint.red('error:')} ${refusal.message} ${paint.dim(`[${code}]`)}`;
  return `${what}\n${hint === '' ? '' : `${paint.bold('hint:')} ${hint}\n`}`;
}
