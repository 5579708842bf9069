// Time that a test moves by hand: timers fire in their order, and promises settle between two of them.

import type { Timing } from '../../src/health/schedule.ts';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly call: () => void;
}

export class ManualTiming implements Timing {
  #now: number;
  #order = 0;
  #timers: Timer[] = [];
  readonly #random: () => number;

  /** `random`: by default always in the middle. */
  constructor(now = 1000, random: () => number = () => 0.5) {
    this.#now = now;
    this.#random = random;
  }

  now = (): number => this.#now;
  random = (): number => this.#random();

  after = (seconds: number, call: () => void): (() => void) => {
    const timer = { at: this.#now + seconds, order: this.#order++, call };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  };

  get pending(): number {
    return this.#timers.length;
  }

  /** Lets so many seconds pass. */
  async pass(seconds: number): Promise<void> {
    const end = this.#now + seconds;
    await settle();
    for (;;) {
      const [next] = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at || a.order - b.order);
      if (next === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.at);
      next.call();
      await settle();
    }
    this.#now = end;
  }
}

/** Numbers 0 ≤ x < 1 that look drawn, always the same (Lehmer's generator). */
export function drawn(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 16_807) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** Everything that is settled has been followed up. */
function settle(): Promise<void> {
  return new Promise((done) => setImmediate(done));
}
