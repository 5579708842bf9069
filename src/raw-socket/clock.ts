/** Time from the kernel, the same in every thread and process: `performance.now()` differs between threads (50 ms were seen). */
import type { Clock, WallClock } from '../base/clock.ts';
import { libc, must } from './library.ts';
import { pin } from './memory.ts';

const clockGettime = libc<(clock: number, at: number) => number>('int clock_gettime(int clock, uintptr_t at)');

const CLOCK_REALTIME = 0;
const CLOCK_THREAD_CPUTIME_ID = 3;
const CLOCK_BOOTTIME = 7;

/** CLOCK_BOOTTIME: counts while the machine sleeps, never jumps when somebody sets the time of day. */
export class BoottimeClock implements Clock {
  // struct timespec: int64 seconds, int64 nanoseconds. Seconds since boot fit the low word for 68 years.
  readonly #timespec = pin(16);

  seconds(): number {
    clockGettime(CLOCK_BOOTTIME, this.#timespec.address);
    return this.#timespec.int32[0];
  }

  /** Milliseconds since boot with a fraction; exact to about a microsecond. */
  milliseconds(): number {
    clockGettime(CLOCK_BOOTTIME, this.#timespec.address);
    return this.#timespec.int32[0] * 1000 + this.#timespec.int32[2] / 1e6;
  }

  /** Microseconds since boot, modulo MICROSECONDS_WRAP (base/clock.ts): an int32, so that a loop may ask without making a number on the heap. */
  microseconds(): number {
    clockGettime(CLOCK_BOOTTIME, this.#timespec.address);
    return (((this.#timespec.int32[0] % 1000) * 1_000_000) | 0) + ((this.#timespec.int32[2] / 1000) | 0);
  }

  /** Seconds of CPU time, with a fraction, that the calling thread has used since it began; in user space and in the kernel. */
  threadCpuSeconds(): number {
    clockGettime(CLOCK_THREAD_CPUTIME_ID, this.#timespec.address);
    return this.#timespec.int32[0] + this.#timespec.int32[2] / 1e9;
  }

  constructor() {
    must(clockGettime(CLOCK_BOOTTIME, this.#timespec.address), 'clock_gettime(CLOCK_BOOTTIME)');
  }
}

/** A clock of the calling thread's own (its timespec is not shared). Allocation-free to read. */
export function boottimeClock(): BoottimeClock {
  return new BoottimeClock();
}

/** The time of day, for one thread. Allocation-free: `Date.now()` makes a number on the heap. */
export function wallClock(): WallClock {
  const timespec = pin(16);
  return {
    read() {
      clockGettime(CLOCK_REALTIME, timespec.address);
    },
    get seconds() {
      return timespec.int32[0];
    },
    get milliseconds() {
      return (timespec.int32[2] / 1e6) | 0;
    },
  };
}
