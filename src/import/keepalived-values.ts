/** Values of a keepalived.conf's statements. What is wrong is reported at its place; a value that is missing is wrong at the keyword. */
import { parseAnyAddress } from '../config/address.ts';
import type { Statement, Word } from './keepalived-blocks.ts';
import type { Problems } from './place.ts';

export class Values {
  readonly #problems: Problems;

  constructor(problems: Problems) {
    this.#problems = problems;
  }

  refuse(word: Word, code: string, message: string): null {
    this.#problems.add(word.at, code, message);
    return null;
  }

  /** The word at `index`, counted from the keyword. */
  word(statement: Statement, index: number, what: string): Word | null {
    const { words } = statement;
    if (index < words.length) return words[index];
    return this.refuse(words[0], 'GD_IMPORT_VALUE', `${words[0].text} needs ${what}`);
  }

  text(statement: Statement, what: string): string | null {
    return this.word(statement, 1, what)?.text ?? null;
  }

  number(statement: Statement, least: number, most: number): number | null {
    const word = this.word(statement, 1, `a whole number from ${least} to ${most}`);
    return word === null ? null : this.numberOf(word, least, most, `a value of ${statement.words[0].text}`);
  }

  numberOf(word: Word, least: number, most: number, what: string): number | null {
    const value = /^\d{1,10}$/.test(word.text) ? Number(word.text) : Number.NaN;
    if (value >= least && value <= most) return value;
    return this.refuse(word, 'GD_IMPORT_VALUE', `"${word.text}" is not ${what}: a whole number from ${least} to ${most}`);
  }

  /** `3`, `2.71828`: seconds. */
  seconds(statement: Statement): number | null {
    const word = this.word(statement, 1, 'a number of seconds');
    if (word === null) return null;
    const value = /^\d{1,9}(\.\d{0,9})?$/.test(word.text) ? Number(word.text) : Number.NaN;
    if (value <= 0x7fffffff) return value;
    return this.refuse(word, 'GD_IMPORT_VALUE', `"${word.text}" is not a number of seconds such as 3 or 2.5`);
  }

  /** A keyword alone switches on. */
  flag(statement: Statement): boolean {
    const word = statement.words[1];
    if (word === undefined || /^(on|true|yes)$/.test(word.text)) return true;
    if (/^(off|false|no)$/.test(word.text)) return false;
    this.refuse(word, 'GD_IMPORT_VALUE', `"${word.text}" is none of on, off, true, false, yes, no`);
    return false;
  }

  /** 4 or 16 bytes. */
  address(word: Word): Uint8Array | null {
    const parsed = parseAnyAddress(word.text);
    if (parsed.value !== null) return parsed.value;
    const message = /^[A-Za-z][A-Za-z0-9._-]*$/.test(word.text)
      ? `"${word.text}" is a name; keepalived takes addresses here`
      : parsed.refusal.message;
    return this.refuse(word, 'GD_IMPORT_ADDRESS', message);
  }

  /** Null when there is none; then `missing` is true. */
  port(word: Word | undefined): { port: number; missing: boolean } | null {
    if (word === undefined) return { port: 0, missing: true };
    const port = this.numberOf(word, 0, 65535, 'a port');
    return port === null ? null : { port, missing: false };
  }
}
