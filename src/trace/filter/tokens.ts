/** The words of a filter, each with its place. */
import { CodedError, EXIT } from '../../base/errors.ts';

export interface Token {
  readonly text: string;
  /** From 1. */
  readonly column: number;
}

/** GD_TRACE_FILTER (exit code 2): names the column, and draws it under the filter. */
export function filterError(filter: string, column: number, message: string, hint: string): CodedError {
  const shown = filter === '' ? '' : `\n  ${filter}\n  ${' '.repeat(column - 1)}^`;
  return new CodedError('GD_TRACE_FILTER', `filter, column ${column}: ${message}${shown}`, { exitCode: EXIT.USAGE, hint });
}

const PATTERN = /\s+|&&|\|\||[=!<>]=|[()[\]!&|=<>]|[\w.:/\\-]+/y;

/** Throws GD_TRACE_FILTER for a character that belongs to no word. */
export function tokensOf(filter: string): Token[] {
  const tokens: Token[] = [];
  PATTERN.lastIndex = 0;
  while (PATTERN.lastIndex < filter.length) {
    const column = PATTERN.lastIndex + 1;
    const found = PATTERN.exec(filter);
    if (found === null) {
      const character = String.fromCodePoint(filter.codePointAt(column - 1) as number);
      throw filterError(filter, column, `"${character}" has no meaning here`, 'gue-director trace --help   lists the words');
    }
    if (found[0].trim() !== '') tokens.push({ text: found[0], column });
  }
  return tokens;
}
