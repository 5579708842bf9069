/**
 * A keepalived.conf, with all that it includes, as the lines that its parser sees: comments away, conditions decided, parameters put in
 * (keepalived.conf(5), "ADVANCED CONFIGURATION"). Every letter keeps its place; what a parameter brought has the place of the parameter.
 */
import { dirname, resolve } from 'node:path';
import { CodedError } from '../base/errors.ts';
import type { NamedText } from './imported.ts';
import type { Files } from './keepalived-files.ts';
import type { Place, Problems } from './place.ts';

export interface SourceLine {
  readonly text: string;
  /** Absent: the file that was named. */
  readonly file?: string;
  readonly line: number;
  /** Letters before this offset stand where the file has them; from here on a parameter has moved them. */
  readonly exact: number;
}

export interface LinesRead {
  readonly lines: readonly SourceLine[];
  /** Lines that only some hosts have, and nobody said which one this is. */
  readonly conditions: readonly { readonly at: Place; readonly text: string }[];
}

/** Letters looked at while parameters are put in: a definition that names itself would never end. */
const MOST_LETTERS = 16 * 1024 * 1024;
const LONGEST_LINE = 256 * 1024;
/** Files in files. */
const DEEPEST = 16;
const MOST_FILES = 1000;
const PARAMETER = /\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*)(?=\s|$))/g;

/** `configId`: what `@` lines are compared with, keepalived's --config-id; null: they are left out and told. */
export function readLines(source: NamedText, files: Files, configId: string | null, problems: Problems): LinesRead {
  return new LineReader(files, configId, problems).read(source);
}

interface Pending {
  text: string;
  readonly line: number;
  exact: number;
}

interface Definition {
  readonly name: string;
  readonly value: string[];
}

class LineReader {
  readonly #files: Files;
  readonly #configId: string | null;
  readonly #problems: Problems;
  readonly #parameters = new Map<string, string>();
  readonly #lines: SourceLine[] = [];
  readonly #conditions: { at: Place; text: string }[] = [];
  #budget = MOST_LETTERS;
  #opened = 0;
  #stopped = false;
  /** A definition that goes on in the next line. */
  #open: Definition | null = null;

  constructor(files: Files, configId: string | null, problems: Problems) {
    this.#files = files;
    this.#configId = configId;
    this.#problems = problems;
    this.#parameters.set('_HASH', '#').set('_BANG', '!');
    if (configId !== null) this.#parameters.set('_INSTANCE', configId);
  }

  read(source: NamedText): LinesRead {
    this.#file(source, undefined, source.name, 0);
    return { lines: this.#lines, conditions: this.#conditions };
  }

  #file({ text }: NamedText, file: string | undefined, path: string, depth: number): void {
    this.#parameters.set('_PWD', resolve(dirname(path)));
    const raw = text.split(/\r?\n/);
    for (let i = 0; i < raw.length && !this.#stopped; i++) {
      const line = withoutComment(raw[i]);
      const at = { ...(file === undefined ? {} : { file }), line: i + 1, column: line.search(/\S/) + 1 };
      if (this.#open !== null) {
        this.#goOn(line);
        continue;
      }
      if (at.column === 0) continue;
      const include = /^\s*include[abmrw]?\s+(.*\S)\s*$/.exec(line);
      if (include === null) this.#line({ text: line, line: i + 1, exact: Number.POSITIVE_INFINITY }, file);
      else this.#include(include[1].replace(/^(["'])(.*)\1$/, '$2'), at, dirname(path), depth);
    }
    if (this.#open !== null) this.#define(this.#open);
    this.#open = null;
  }

  #include(pattern: string, at: Place, folder: string, depth: number): void {
    if (depth >= DEEPEST) {
      this.#problems.add(at, 'GD_IMPORT_INCLUDE', `files include files more than ${DEEPEST} deep`);
      return;
    }
    const paths = this.#files.match(pattern, folder);
    if (paths.length === 0 && !/[*?[{]/.test(pattern)) {
      this.#problems.add(at, 'GD_IMPORT_INCLUDE', `there is no file "${pattern}" in ${folder}`);
    }
    for (const path of paths) {
      if (++this.#opened > MOST_FILES) {
        this.#stop(at, 'GD_IMPORT_INCLUDE', `more than ${MOST_FILES} files are included`);
        return;
      }
      try {
        this.#file({ text: this.#files.read(path), name: path }, path, path, depth + 1);
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
        this.#problems.add(at, 'GD_IMPORT_INCLUDE', error.message);
      }
    }
    this.#parameters.set('_PWD', resolve(folder));
  }

  #stop(at: Place, code: string, message: string): void {
    this.#problems.add(at, code, message);
    this.#stopped = true;
  }

  #goOn(line: string): void {
    const open = this.#open!;
    const goesOn = /\\\s*$/.test(line);
    open.value.push(goesOn ? line.replace(/\\\s*$/, '') : line);
    if (goesOn) return;
    this.#define(open);
    this.#open = null;
  }

  #define({ name, value }: Definition): void {
    // Nothing stands on the line of the name when lines follow.
    const lines = value.length > 1 && value[0].trim() === '' ? value.slice(1) : value;
    this.#parameters.set(name, lines.join('\n').trim());
  }

  /** One line of the file becomes one or, by parameters of several lines, many. */
  #line(first: Pending, file: string | undefined): void {
    const todo: Pending[] = [first];
    while (todo.length > 0 && !this.#stopped) {
      const one = todo.pop()!;
      const place = (offset: number): Place => ({
        ...(file === undefined ? {} : { file }),
        line: one.line,
        column: Math.min(offset, one.exact) + 1,
      });
      this.#budget -= one.text.length + 1;
      if (this.#budget < 0 || one.text.length > LONGEST_LINE) {
        this.#stop(place(0), 'GD_IMPORT_PARAMETER', 'the parameters become too long: is there one that contains itself?');
        return;
      }
      const start = one.text.search(/\S/);
      if (start < 0) continue;
      if (this.#isDefinition(one.text, todo)) continue;
      if (one.text[start] === '@') {
        if (this.#decide(one, place(start))) todo.push(one);
        continue;
      }
      if (/^\s*~(SEQ|LST)/.test(one.text)) {
        const message = 'lines that ~SEQ and ~LST repeat are not read: write them out';
        this.#problems.add(place(start), 'GD_IMPORT_SEQUENCE', message);
        continue;
      }
      const found = this.#firstParameter(one.text);
      if (found === null) {
        this.#lines.push({ text: one.text, ...(file === undefined ? {} : { file }), line: one.line, exact: one.exact });
        continue;
      }
      const exact = Math.min(one.exact, found.from);
      const pieces = `${one.text.slice(0, found.from)}${found.value}${one.text.slice(found.to)}`.split('\n');
      for (let i = pieces.length - 1; i >= 0; i--) {
        // All that follows the first line break stands where the parameter stands.
        todo.push({ text: i === 0 ? pieces[0] : `${' '.repeat(exact)}${pieces[i]}`, line: one.line, exact });
      }
    }
  }

  #isDefinition(text: string, todo: Pending[]): boolean {
    const definition = /^\s*\$([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(text);
    if (definition === null) return false;
    const [, name, value] = definition;
    if (!/\\\s*$/.test(value)) {
      this.#parameters.set(name, value.trim());
      return true;
    }
    this.#open = { name, value: [value.replace(/\\\s*$/, '')] };
    // Inside a parameter of several lines the definition goes on in the lines that are still to do.
    while (this.#open !== null && todo.length > 0) this.#goOn(todo.pop()!.text);
    return true;
  }

  /** True when the line belongs to this host; its condition is blanked out, so that the rest stays where it is. */
  #decide(one: Pending, at: Place): boolean {
    const condition = /^(\s*)@(\^?)(\S*)/.exec(one.text)!;
    if (this.#configId === null) {
      this.#conditions.push({ at, text: one.text.trim() });
      return false;
    }
    if ((condition[3] === this.#configId) === (condition[2] === '^')) return false;
    one.text = ' '.repeat(condition[0].length) + one.text.slice(condition[0].length);
    return true;
  }

  #firstParameter(text: string): { from: number; to: number; value: string } | null {
    if (!text.includes('$')) return null;
    for (const match of text.matchAll(PARAMETER)) {
      const value = this.#parameters.get(match[1] ?? match[2]);
      if (value !== undefined) return { from: match.index, to: match.index + match[0].length, value };
    }
    return null;
  }
}

/** A `#` or `!` that is not inside quotation marks ends the line. */
function withoutComment(line: string): string {
  let quote = '';
  for (let i = 0; i < line.length; i++) {
    const letter = line[i];
    if (quote !== '') {
      if (letter === '\\') i++;
      else if (letter === quote) quote = '';
    } else if (letter === '"' || letter === "'") quote = letter;
    else if (letter === '#' || letter === '!') return line.slice(0, i);
  }
  return line;
}
