/** Drops in the log: never a line per packet, but every ten seconds one line that names each reason that rose and by how much. */
import { DROPS_AT, sumOf } from '../base/counters.ts';
import { DROP_REASONS } from '../base/drop-reason.ts';

/** Reasons that come with any service on the Internet and call for no action by themselves. */
export const ORDINARY_DROPS: ReadonlySet<string> = new Set([
  'not-a-service',
  'ttl-expired',
  'icmp-not-steered',
  'icmp-quote-not-a-service',
  'echo-dropped',
  'fragment',
  'wrong-host',
]);

export interface DropSummary {
  readonly level: 'info' | 'warn';
  /** Packets by reason since the last summary; only reasons that rose. */
  readonly reasons: Readonly<Record<string, number>>;
}

export class DropWatch {
  readonly #last = new Float64Array(DROP_REASONS.length);

  /** What rose since the last call, or null. `warn` when one of the reasons is not ordinary. */
  look(banks: readonly Float64Array[]): DropSummary | null {
    const reasons: Record<string, number> = {};
    let level: 'info' | 'warn' = 'info';
    let any = false;
    for (let i = 1; i < DROP_REASONS.length; i++) {
      const sum = sumOf(banks, DROPS_AT + i);
      if (sum > this.#last[i]) {
        const { word } = DROP_REASONS[i];
        reasons[word] = sum - this.#last[i];
        any = true;
        if (!ORDINARY_DROPS.has(word)) level = 'warn';
      }
      this.#last[i] = sum;
    }
    return any ? { level, reasons } : null;
  }
}
