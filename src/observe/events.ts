/** The journal of state changes: what happened to the director itself, newest last, bounded. Each is logged once and kept here. */
import type { Log } from './log.ts';

export type EventLevel = 'info' | 'warn' | 'error';

export interface JournalEvent {
  /** Counts from 1 and never repeats. */
  readonly sequence: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly level: EventLevel;
  /** Stable word: `thread-failed`, `snapshot-published`. */
  readonly kind: string;
  /** One sentence. */
  readonly text: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export class EventJournal {
  readonly #log: Log;
  readonly #events: JournalEvent[] = [];
  readonly #limit: number;
  #sequence = 0;

  constructor(log: Log, limit = 1000) {
    this.#log = log;
    this.#limit = limit;
  }

  /** Keeps the event and logs it under its kind. `logged`: fields for the log alone; events are told over HTTP too, where nobody may read addresses of clients. */
  record(
    level: EventLevel,
    kind: string,
    text: string,
    fields: Readonly<Record<string, unknown>> = {},
    logged: Readonly<Record<string, unknown>> = {},
  ): void {
    this.#events.push({ sequence: ++this.#sequence, time: Date.now(), level, kind, text, fields });
    if (this.#events.length > this.#limit) this.#events.shift();
    this.#log[level]({ event: kind, ...fields, ...logged }, text);
  }

  /** Events after `sequence`, oldest first; those already forgotten are missing. */
  since(sequence = 0): readonly JournalEvent[] {
    return this.#events.filter((event) => event.sequence > sequence);
  }
}
