// What a load's tasks have done, added up.

import type { LoadResult, Order } from './load.ts';

/** Failures that are kept in words. */
const KEPT = 5;

export class Account {
  readonly #started = performance.now();
  completed = 0;
  messages = 0;
  connections = 0;
  #bytes = 0;
  #smallest = Number.POSITIVE_INFINITY;
  #largest = 0;
  readonly #failures: string[] = [];
  #failed = 0;

  carried(bytes: number): void {
    this.#bytes += bytes;
    this.#smallest = Math.min(this.#smallest, bytes);
    this.#largest = Math.max(this.#largest, bytes);
  }

  failed(what: string, error: unknown): void {
    this.#failed++;
    if (this.#failures.length < KEPT) this.#failures.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  }

  result(kind: Order['kind']): LoadResult {
    const more = this.#failed > KEPT ? [`and ${this.#failed - KEPT} more`] : [];
    return {
      kind,
      completed: this.completed,
      messages: this.messages,
      connections: this.connections,
      bytes: this.#bytes,
      smallest: this.#smallest,
      largest: this.#largest,
      milliseconds: Math.round(performance.now() - this.#started),
      failures: [...this.#failures, ...more],
    };
  }
}
