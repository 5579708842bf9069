/**
 * poll(2) over a preallocated array: how a forwarding thread waits for its queues and for its wake-up eventfd at once.
 *
 *     struct pollfd:  | int fd | short events | short revents |   8 bytes
 */
import { CodedError } from '../base/errors.ts';
import { E, errno, libc, must } from './library.ts';
import { pin } from './memory.ts';

const pollCall = libc<(at: number, count: number, timeout: number) => number>(
  'int poll(uintptr_t at, unsigned long count, int timeout)',
);

export const POLLIN = 0x1;
export const POLLOUT = 0x4;
export const POLLERR = 0x8;
export const POLLHUP = 0x10;

export class PollSet {
  readonly #capacity: number;
  readonly #memory;
  #count = 0;

  /** Room for `capacity` descriptors. */
  constructor(capacity = 8) {
    this.#capacity = capacity;
    this.#memory = pin(capacity * 8);
  }

  /** Adds a descriptor and returns its index, to be given to `events`. A negative descriptor is legal and never ready. */
  add(descriptor: number, events: number = POLLIN): number {
    if (this.#count === this.#capacity) {
      throw new CodedError('GD_RAW_SOCKET_POLL_FULL', `a poll set of ${this.#capacity} descriptors is full`);
    }
    const index = this.#count++;
    this.#memory.int32[index * 2] = descriptor;
    this.#memory.uint16[index * 4 + 2] = events;
    return index;
  }

  /**
   * Waits until a descriptor is ready or `timeout` milliseconds are over (−1: for ever; avoid it in a thread, nothing could end
   * it). Returns how many are ready: 0 after a timeout and also after a signal. Blocks the thread; allocates nothing.
   */
  wait(timeout: number): number {
    const ready = pollCall(this.#memory.address, this.#count, timeout);
    if (ready >= 0) return ready;
    if (errno() === E.EINTR) return 0;
    return must(ready, 'poll');
  }

  /** What `wait` found for one descriptor: POLLIN, POLLERR … as bits, 0 when it is not ready. */
  events(index: number): number {
    return this.#memory.uint16[index * 4 + 3];
  }
}
