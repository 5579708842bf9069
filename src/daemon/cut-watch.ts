/** Watches how many packets forwarding threads cut because they were too big for their tunnel, and says which MTU would spare it. */
import type { Clock } from '../base/clock.ts';
import { BACKENDS_AT, MAX_BACKENDS, sumOf } from '../base/counters.ts';
import type { PathMtuEntry } from '../host/path-mtu.ts';
import type { EventJournal } from '../observe/events.ts';
import { NOTE_LARGEST, NOTE_TIMES, NOTE_WORDS } from '../pipeline/cut-notes.ts';
import { type CutSample, LinkAdvice } from './link-advice.ts';

export interface CutWatchOptions {
  readonly journal: EventJournal;
  readonly clock: Clock;
  /** Backends with their paths; null where packets go to no network. */
  readonly paths: () => readonly PathMtuEntry[] | null;
  /** Counters of all forwarding threads. */
  readonly banks: () => readonly Float64Array[];
}

export class CutWatch {
  /** Written by the forwarding threads (pipeline/cut-notes.ts). Untouched pages cost nothing. */
  readonly memory = new SharedArrayBuffer(MAX_BACKENDS * NOTE_WORDS * 4);
  readonly #notes = new Int32Array(this.memory);
  readonly #options: CutWatchOptions;
  readonly #advice = new LinkAdvice();
  /** Totals at the last look, by backend id. */
  #before = new Map<number, { readonly packets: number; readonly times: number }>();

  constructor(options: CutWatchOptions) {
    this.#options = options;
  }

  /** To be called every WINDOW_SECONDS (link-advice.ts). */
  look(): void {
    const { journal, clock, paths, banks } = this.#options;
    const counted = banks();
    const before = this.#before;
    this.#before = new Map();
    const samples = (paths() ?? []).map((path): CutSample => {
      const packets = sumOf(counted, BACKENDS_AT + 2 * path.id);
      const times = Atomics.load(this.#notes, path.id * NOTE_WORDS + NOTE_TIMES);
      const largest = Atomics.exchange(this.#notes, path.id * NOTE_WORDS + NOTE_LARGEST, 0);
      // What was counted before somebody looked belongs to no window.
      const last = before.get(path.id) ?? { packets, times };
      this.#before.set(path.id, { packets, times });
      return { path, packets: packets - last.packets, cuts: (times - last.times) >>> 0, largest };
    });
    for (const { text, hint, fields } of this.#advice.look(samples, clock.seconds())) {
      journal.record('warn', 'link-mtu', text, { ...fields, hint });
    }
  }

  /** Bytes of the largest packet, outer headers included, that was cut for the backend in the last minute; 0 when none was. */
  wanted(id: number): number {
    return Math.max(this.#advice.wanted(id), Atomics.load(this.#notes, id * NOTE_WORDS + NOTE_LARGEST));
  }
}
