/**
 * What a forwarding thread does while there are no packets (docs/threads.md):
 *
 *     wait    sleeps in poll(2) until the kernel wakes it
 *     spin    looks again and again for `spin` microseconds after the last packet, and sleeps only then
 *     busy    looks again and again, always
 */
import { elapsedMicroseconds } from '../base/clock.ts';
import type { IdleRule } from '../config/config.ts';

/** Looks between two waits of length 0 in a thread that never sleeps: by those it notices that its device was removed, and clears its eventfd. */
const LOOKS = 4096;

export interface IdleOptions {
  readonly idle: IdleRule;
  /** Microseconds. */
  readonly spin: number;
  /** Sleeps until packets or mail are there, or so many milliseconds are over. */
  readonly wait: (timeout: number) => unknown;
  /** Microseconds, as base/clock.ts `elapsedMicroseconds` takes them: whole numbers, for it is asked at every look. */
  readonly now: () => number;
}

/**
 * For `LoopParts.wait`: called when nothing was received, `empty` times in a row before this one; −1 when nothing can be received any more. Returns false when
 * the thread did not sleep.
 */
export function idlePacing({ idle, spin, wait, now }: IdleOptions): (timeout: number, empty: number) => boolean {
  const sleep = (timeout: number): true => {
    wait(timeout);
    return true;
  };
  if (idle === 'wait') return sleep;
  if (idle === 'busy') {
    return (timeout, empty) => {
      if (empty < 0) return sleep(timeout);
      if (empty % LOOKS === LOOKS - 1) wait(0);
      return false;
    };
  }
  let since = 0;
  let looksOn = false;
  return (timeout, empty) => {
    if (empty < 0) return sleep(timeout);
    if (empty === 0) {
      since = now();
      looksOn = true;
    }
    if (looksOn && elapsedMicroseconds(since, now()) < spin) return false;
    // What comes while it sleeps is looked for by the loop; if it is nothing but mail, there is nothing to spin for.
    looksOn = false;
    return sleep(timeout);
  };
}
