/** Places in imported files, and what is wrong there. */
import type { Problem } from '../config/problem.ts';

/** 1-based; the column in UTF-16 units. */
export interface Place {
  /** Set where it is not the file that was named, but one that it includes. */
  readonly file?: string;
  readonly line: number;
  readonly column: number;
}

/** `line 12`, `line 12 of servers.conf`. */
export function lineText({ file, line }: Place): string {
  return file === undefined ? `line ${line}` : `line ${line} of ${file}`;
}

/** In the order of the file that was named; what it includes comes after it. */
export function comparePlaces(a: Place, b: Place): number {
  const [first, second] = [a.file ?? '', b.file ?? ''];
  return first < second ? -1 : first > second ? 1 : a.line - b.line || a.column - b.column;
}

/** Problems of a file as they are found; `file` is the name that they bear unless their place has another. */
export class Problems {
  readonly file: string;
  readonly list: Problem[] = [];

  constructor(file: string) {
    this.file = file;
  }

  add(at: Place, code: string, message: string): void {
    const { file = this.file, line, column } = at;
    this.list.push({ file, line, column, path: '', message, code, severity: 'error' });
  }
}
