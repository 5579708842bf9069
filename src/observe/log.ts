/**
 * The log: pino underneath, JSON for machines, one readable line per entry for a terminal. Logs go to standard error, so that standard
 * output stays free for what a command prints. No packet's payload is ever logged; per packet nothing is logged at all.
 */
import { writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import { textLine } from './log-text.ts';

export type Log = Logger;

export interface LogOptions {
  /** pino's words: trace, debug, info, warn, error, fatal, silent. */
  readonly level: string;
  /** `auto`: text when standard error is a terminal, JSON elsewhere. */
  readonly format: 'json' | 'text' | 'auto';
  /** Where finished lines go; standard error when not given. */
  readonly write?: (line: string) => void;
}

/** A log whose lines are written when the call returns: the last words before an exit are never lost. */
export function createLog(options: LogOptions): Log {
  const text = options.format === 'text' || (options.format === 'auto' && process.stderr.isTTY === true);
  const colour = text && options.write === undefined && process.stderr.isTTY === true && (process.env.NO_COLOR ?? '') === '';
  const write = options.write ?? writeError;
  return pino(
    {
      level: options.level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: text ? (line: string) => write(textLine(line, colour)) : write },
  );
}

/** Writes everything, also to a pipe whose reader is slow; gives up without a word when nobody reads any more (EPIPE). */
function writeError(line: string): void {
  const bytes = Buffer.from(line);
  let at = 0;
  let patience = 200;
  while (at < bytes.length) {
    try {
      at += writeSync(2, bytes, at);
    } catch (error) {
      // A full pipe: wait 5 ms for its reader, at most a second; the daemon's other work must go on.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || patience-- === 0) return;
      Atomics.wait(PAUSE, 0, 0, 5);
    }
  }
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** Lets the first of equal log lines through, holds the rest of its window back, and says how many those were. */
export class RepeatedLines {
  readonly #window: number;
  readonly #known = new Map<string, { since: number; held: number }>();

  /** `windowMs`: at most one line per key in this many milliseconds. */
  constructor(windowMs = 10_000) {
    this.#window = windowMs;
  }

  /**
   * −1: hold this line back. 0 or more: log it, and that many equal ones were held back since the last.
   * `now` in milliseconds of any steady clock.
   */
  admit(key: string, now: number): number {
    const entry = this.#known.get(key);
    if (entry !== undefined && now - entry.since < this.#window) {
      entry.held++;
      return -1;
    }
    // Keys come from code, not from packets; the bound is for a program error.
    if (this.#known.size > 1000) this.#known.clear();
    this.#known.set(key, { since: now, held: 0 });
    return entry?.held ?? 0;
  }
}
