// A rate that senders share: whoever wants to send so many bytes waits until they are due. What nobody used is not saved up for later,
// but for what a timer's coarseness costs, so the rate over any tenth of a second is no more than the rate asked for.

import { setTimeout as sleep } from 'node:timers/promises';

/** Node's timers are a millisecond coarse, and late. */
const CREDIT_MS = 4;

export class Pace {
  readonly #bytesPerMs: number;
  /** When everything that was let through is due to have left. */
  #until = 0;

  /** `bytesPerSecond` 0: no limit. */
  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  /** Resolves when `bytes` may be sent. Those who ask first go first. */
  async take(bytes: number): Promise<void> {
    if (this.#bytesPerMs === 0) return;
    const now = performance.now();
    const due = Math.max(this.#until, now - CREDIT_MS);
    this.#until = due + bytes / this.#bytesPerMs;
    if (due > now) await sleep(due - now);
  }
}
