/** How a forwarding thread waits: for packets and for mail at once. */
import { CodedError } from '../base/errors.ts';
import type { Ingress } from '../io/driver.ts';
import type { EventDescriptor } from '../raw-socket/event.ts';
import { POLLERR, POLLHUP, POLLIN, PollSet } from '../raw-socket/poll.ts';
import { INGRESS_GONE } from './thread-protocol.ts';

const MOST_BROKEN_WAITS = 3;

export class ThreadWait {
  readonly #ingress: Ingress;
  readonly #wake: EventDescriptor;
  readonly #poll = new PollSet(2);
  readonly #packets: number;
  readonly #mail: number;
  /** Waits in a row that ended by an error on the ingress descriptor. */
  #broken = 0;

  constructor(ingress: Ingress, wake: EventDescriptor) {
    this.#ingress = ingress;
    this.#wake = wake;
    this.#packets = this.#poll.add(ingress.descriptor);
    this.#mail = this.#poll.add(wake.descriptor);
  }

  /** Until packets or mail are there, or `timeout` milliseconds are over. Throws INGRESS_GONE when the device was removed. */
  wait(timeout: number): void {
    this.#poll.wait(timeout);
    // Cleared here and nowhere else: main raises the mail word first and the eventfd after it, so the mail may have been read before
    // its notice comes. Whoever cleared when reading would leave that notice standing, and no wait would wait any more.
    if ((this.#poll.events(this.#mail) & POLLIN) !== 0) this.#wake.clear();
    if ((this.#poll.events(this.#packets) & (POLLERR | POLLHUP)) === 0) {
      this.#broken = 0;
    } else if (++this.#broken === MOST_BROKEN_WAITS) {
      // Reading clears an error that is only reported once. This one stays: the device was removed.
      throw new CodedError(INGRESS_GONE, `${this.#ingress.name} is gone`, { hint: 'was the interface removed? ip -d link' });
    }
  }
}
