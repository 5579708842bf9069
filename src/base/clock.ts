/** Time for the per-packet path: read once per batch, passed in, never taken from the environment. */
export interface Clock {
  /** Whole seconds since boot, suspended time included (CLOCK_BOOTTIME): the same in every thread and process. */
  seconds(): number;
}

/** Microseconds after which `BoottimeClock.microseconds` begins at 0 again: a whole number below 2³¹. */
export const MICROSECONDS_WRAP = 1_000_000_000;

/** Microseconds from one reading of such a clock to a later one, less than MICROSECONDS_WRAP apart. */
export function elapsedMicroseconds(from: number, to: number): number {
  return to >= from ? to - from : to - from + MICROSECONDS_WRAP;
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
