/**
 * Keeps what happened: once a second, how far the counters rose. Asked for a window of time, it adds the state changes of the journal and the drops that the
 * forwarding threads noted. Everything is in memory of this process, and bounded (docs/history.md says by how much).
 */

import { CodedError, EXIT } from '../base/errors.ts';
import { searchDropNotes } from '../base/note-search.ts';
import { protocolWord } from '../explain/tuple.ts';
import { type CountedNames, CounterSeries } from '../observe/counter-series.ts';
import type { JournalEvent } from '../observe/events.ts';
import { historyAnswer } from '../observe/history.ts';
import { SecondRing } from '../observe/second-ring.ts';
import type { SnapshotParts } from '../pipeline/snapshot.ts';
import { historyQuestion, type KnownNames } from './history-question.ts';

const SECOND = 1000;
const NOBODY: CountedNames = { services: [], backends: [] };

export interface HistoryKeeperOptions {
  readonly events: () => readonly JournalEvent[];
  readonly publisher: { readonly current: SnapshotParts | null };
  readonly threads: {
    readonly banks: readonly Float64Array[];
    readonly seats: readonly { readonly dropNotes: SharedArrayBuffer }[];
    kernelDrops(): readonly { readonly packets: number }[];
  };
  readonly ring?: SecondRing;
  /** Milliseconds that nobody sets: how long a second was. */
  readonly milliseconds?: () => number;
}

export class HistoryKeeper {
  readonly #options: HistoryKeeperOptions;
  readonly #ring: SecondRing;
  readonly #series: CounterSeries;
  readonly #since = Date.now();
  readonly #milliseconds: () => number;
  #last: number;

  constructor(options: HistoryKeeperOptions) {
    this.#options = options;
    this.#ring = options.ring ?? new SecondRing();
    this.#series = new CounterSeries(this.#since);
    this.#milliseconds = options.milliseconds ?? (() => performance.now());
    this.#last = this.#milliseconds();
    // What is counted already happened before.
    this.#counted(this.#since, () => {});
  }

  /** Counts from now on, at each full second of the time of day. Keeps no process alive. */
  run(): this {
    const now = Date.now();
    const rest = SECOND - (now % SECOND);
    // One that came early waits for the second after.
    const wait = rest < SECOND / 2 ? rest + SECOND : rest;
    const timer = setTimeout(() => {
      this.look();
      this.run();
    }, wait);
    timer.unref();
    return this;
  }

  /** A second is over. */
  look(now = Date.now()): void {
    const time = this.#milliseconds();
    this.#ring.begin(now, time - this.#last);
    this.#last = time;
    this.#counted(now, (number, packets, bytes) => {
      this.#ring.add(number, packets, bytes);
    });
    const { oldest } = this.#ring;
    if (oldest !== null) this.#series.forget(oldest.end - oldest.lasted);
  }

  /** What rose since the last time. */
  #counted(now: number, rose: (number: number, packets: number, bytes: number) => void): void {
    const { publisher, threads } = this.#options;
    const lost = threads.kernelDrops().reduce((sum, { packets }) => sum + packets, 0);
    this.#series.look(threads.banks, publisher.current?.names ?? NOBODY, lost, now, rose);
  }

  /** `isLocal`: who asks may see addresses of clients. 200 with a HistoryAnswer; 400 with `message`, `hint` and `code` for a question that can not be read. */
  answer(query: URLSearchParams, isLocal: boolean): { readonly status: 200 | 400; readonly body: object } {
    const { events, threads } = this.#options;
    const now = Date.now();
    try {
      const question = historyQuestion(query, this.#names(), now);
      const memories = threads.seats.map(({ dropNotes }) => dropNotes);
      const body = historyAnswer(question, {
        ring: this.#ring,
        series: this.#series,
        notes: isLocal ? (search) => searchDropNotes(memories, search) : null,
        events: events(),
        since: this.#since,
        now,
        protocolWord,
      });
      return { status: 200, body };
    } catch (error) {
      if (!(error instanceof CodedError) || error.exitCode !== EXIT.USAGE) throw error;
      return { status: 400, body: { message: error.message, hint: error.hint, code: error.code } };
    }
  }

  #names(): KnownNames {
    const all = this.#series.all();
    const { services } = this.#options.publisher.current?.names ?? { services: [] };
    const gone = all.filter(({ kind }) => kind === 'service').map(({ name }) => [name, null] as const);
    return {
      services: new Map<string, string | null>([...gone, ...services.map(({ name, pool }) => [name, pool] as const)]),
      backends: [...new Set(all.filter(({ kind }) => kind === 'backend').map(({ name }) => name))],
    };
  }
}
