/** eventfd(2): how the main thread wakes a forwarding thread that waits in poll. */
import { closeDescriptor, readDescriptor, writeDescriptor } from './file.ts';
import { E, errno, libc, must } from './library.ts';
import { pin } from './memory.ts';

const eventfd = libc<(initial: number, flags: number) => number>('int eventfd(unsigned int initial, int flags)');

const EFD_NONBLOCK_CLOEXEC = 0x800 | 0x80000;

export class EventDescriptor {
  /** The number to hand to another thread (`EventDescriptor.over`) and to a PollSet. */
  readonly descriptor: number;
  readonly #value = pin(8);

  private constructor(descriptor: number) {
    this.descriptor = descriptor;
  }

  static create(): EventDescriptor {
    return new EventDescriptor(must(eventfd(0, EFD_NONBLOCK_CLOEXEC), 'eventfd'));
  }

  /** The same eventfd as seen from another thread; only one side closes it. */
  static over(descriptor: number): EventDescriptor {
    return new EventDescriptor(descriptor);
  }

  /** Makes the descriptor readable. Any number of calls before the next `clear` count as one. */
  notify(): void {
    this.#value.int32[0] = 1;
    this.#value.int32[1] = 0;
    const written = writeDescriptor(this.descriptor, this.#value.address, 8);
    // EAGAIN: the counter is at its maximum, so the reader is notified already.
    if (written < 0 && errno() !== E.EAGAIN) must(written, 'write to an eventfd');
  }

  /** Makes it unreadable again; true when it had been notified. */
  clear(): boolean {
    const got = readDescriptor(this.descriptor, this.#value.address, 8);
    if (got === 8) return true;
    if (errno() !== E.EAGAIN) must(-1, 'read of an eventfd');
    return false;
  }

  close(): void {
    closeDescriptor(this.descriptor);
  }
}
