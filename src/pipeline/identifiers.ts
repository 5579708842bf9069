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

/** Counts of `between4`: destinations share one when their hashes meet. A power of two. */
const COUNTS = 1024;
const COUNTS_SHIFT = 22;

export class Identifiers {
  readonly #step: number;
  readonly #counts = new Int32Array(COUNTS);
  #last: number;

  constructor(options: IdentifiersOptions = {}) {
    const { seed = 0, thread = 0, threads = 1 } = options;
    let step = 1;
    while (step < threads) step *= 2;
    this.#step = step;
    this.#last = (seed & -step) | thread;
    // Each begins elsewhere: what one of them says tells nothing about the others.
    for (let i = 0; i < COUNTS; i++) this.#counts[i] = (Math.imul(seed ^ i, 0x9e3779b1) & -step) | thread;
  }

  /** For IPv4: 1 to 65,535. 0 is what senders write that never expect fragments. */
  next4(): number {
    const value = this.#next() & 0xffff;
    return value === 0 ? this.#next() & 0xffff : value;
  }

  /**
   * For `datagrams` IPv4 datagrams in a row that leave from an address of ours for one destination (its address as int32): 1 to 65,535, counted
   * for that destination, as Linux does (net/ipv4/route.c __ip_select_ident), so that a number comes again as late as it can.
   */
  between4(destination: number, datagrams = 1): number {
    const counts = this.#counts;
    const place = Math.imul(destination, 0x9e3779b1) >>> COUNTS_SHIFT;
    const first = (counts[place] + this.#step) | 0;
    const value = (first & 0xffff) === 0 ? (first + this.#step) | 0 : first;
    counts[place] = (value + Math.imul(datagrams - 1, this.#step)) | 0;
    return value & 0xffff;
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
