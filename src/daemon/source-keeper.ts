/**
 * Tunnel sources that are by route, while the director runs: asked for again when links, addresses or routes changed, and now and then, since the
 * kernel does not announce everything that chooses a source. A change goes into a new snapshot.
 */
import { CodedError } from '../base/errors.ts';
import type { EventJournal } from '../observe/events.ts';
import { RepeatedLines } from '../observe/log.ts';
import type { Spec } from '../pipeline/spec.ts';
import type { BoottimeClock } from '../raw-socket/clock.ts';
import { hasRoutedSources, routedSources, type SourceFor } from './tunnel-sources.ts';

/** Milliseconds between two looks that nothing gave cause for. */
const LOOK_EVERY = 30_000;
/** Where routes change all the time, looks are this far apart: each asks for every backend. */
const LOOK_AFTER_CHANGE = 2000;

export interface SourceKeeperOptions {
  readonly journal: EventJournal;
  readonly clock: BoottimeClock;
  /** What says now which source the kernel would choose for packets to a backend; it throws when there is no way to it. */
  readonly resolver: () => SourceFor;
  /** Puts the spec with the new sources in force. Throws when it can not be; then the old one stays. */
  readonly publish: (spec: Spec) => void;
}

export class SourceKeeper {
  readonly #options: SourceKeeperOptions;
  readonly #repeated = new RepeatedLines();
  #spec: Spec | null = null;
  #lookedAt = 0;
  #due = false;

  constructor(options: SourceKeeperOptions) {
    this.#options = options;
  }

  /** From now on: the spec in force, with its sources resolved. */
  keep(spec: Spec): void {
    this.#spec = hasRoutedSources(spec) ? spec : null;
    this.#lookedAt = this.#options.clock.milliseconds();
    this.#due = false;
  }

  /** Links, addresses or routes changed. */
  routesChanged(): void {
    this.#due = true;
  }

  /** To be called every second. */
  tend(): void {
    const spec = this.#spec;
    const { clock, journal, resolver, publish } = this.#options;
    const now = clock.milliseconds();
    if (spec === null || now - this.#lookedAt < (this.#due ? LOOK_AFTER_CHANGE : LOOK_EVERY)) return;
    this.#lookedAt = now;
    this.#due = false;
    try {
      const routed = routedSources(spec, resolver());
      if (routed.changes.length === 0) return;
      publish(routed.spec);
      this.#spec = routed.spec;
      for (const { pool, backend, from, to } of routed.changes) {
        const text = `packets to backend ${pool}/${backend} leave from ${to} now: its route changed`;
        journal.record('info', 'tunnel-source', text, { pool, backend, from, to });
      }
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const equal = this.#repeated.admit(message, now);
      const hint = error instanceof CodedError ? error.hint : '';
      if (equal >= 0)
        journal.record('error', 'tunnel-source', `a changed tunnel source can not be used: ${message}`, { hint, equal });
    }
  }
}
