/** Time for the per-packet path: read once per batch, passed in, never taken from the environment. */
export interface Clock {
  /** Whole seconds since boot, suspended time included (CLOCK_BOOTTIME): the same in every thread and process. */
  seconds(): number;
}

/** The time of day, read when something is worth a note: never for a packet that goes its way. */
export interface WallClock {
  /** Takes the time; the fields hold it until the next call. */
  read(): void;
  /** Seconds since 1970, the low 32 bits as int32. */
  readonly seconds: number;
  /** 0–999 */
  readonly milliseconds: number;
}

/** A clock that a test or `replay` moves by hand. */
export class ManualClock implements Clock {
  #now: number;

  constructor(now = 0) {
    this.#now = now;
  }

  seconds(): number {
    return this.#now;
  }

  set(seconds: number): void {
    this.#now = seconds;
  }
}
