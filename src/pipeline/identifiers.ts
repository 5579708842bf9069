/**
 * Identifications for datagrams that are to be fragmented (RFC 791 §3.2, RFC 8200 §4.5): a receiver tells by them which fragments belong
 * together, so one may come again only after all fragments of its first datagram are gone (RFC 6864 §4.3). IPv4 has 16 bits for all
 * datagrams between two addresses; forwarding threads send from one address, so they share them out:
 *
 *     thread 2 of 3 counts    seed, … | 2,  6, 10, 14, …      steps of the next power of two, which divides 65,536
 */
export interface IdentifiersOptions {
  /** Any int32: where the count begins, so that a restarted director does not repeat what it just sent. */
  readonly seed?: number;
  /** This thread's number, from 0, and how many there are. */
  readonly thread?: number;
  readonly threads?: number;
}

export class Identifiers {
  readonly #step: number;
  #last: number;

  constructor(options: IdentifiersOptions = {}) {
    const { seed = 0, thread = 0, threads = 1 } = options;
    let step = 1;
    while (step < threads) step *= 2;
    this.#step = step;
    this.#last = (seed & -step) | thread;
  }

  /** For IPv4: 1 to 65,535. 0 is what senders write that never expect fragments. */
  next4(): number {
    const value = this.#next() & 0xffff;
    return value === 0 ? this.#next() & 0xffff : value;
  }

  /** For IPv6: any int32. */
  next6(): number {
    return this.#next();
  }

  #next(): number {
    this.#last = (this.#last + this.#step) | 0;
    return this.#last;
  }
}
