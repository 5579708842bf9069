/** What happened to the datagrams: plain numbers, one line at the end. */
import { errnoName } from '../raw-socket/library.ts';
import { REFUSALS } from './decapsulate.ts';

export class Tally {
  received = 0;
  injected = 0;
  injectedBytes = 0;
  /** Super-packets, and how many of the injected packets they held. */
  superPackets = 0;
  merged = 0;
  /** The TUN device refused the packet (it is down, or the kernel found the packet impossible). */
  deviceRefused = 0;
  /** Messages that the kernel dropped at our sockets: it was sent more than was read. */
  lost = 0;
  /** Failed receive calls; an ICMP error about an answer may leave one on the socket. */
  receiveErrors = 0;
  #lastError = 0;
  readonly refused = new Float64Array(REFUSALS.length);

  receiveFailed(number: number): void {
    this.receiveErrors++;
    this.#lastError = number;
  }

  /** `received 12 datagrams, injected 10 packets (8400 bytes), 8 of them in 2 super-packets; refused: gue-variant 2`. */
  summary(): string {
    const reasons = REFUSALS.flatMap((word, i) => (i > 0 && this.refused[i] > 0 ? [`${word} ${this.refused[i]}`] : []));
    if (this.deviceRefused > 0) reasons.push(`device ${this.deviceRefused}`);
    const refused = reasons.length === 0 ? '' : `; refused: ${reasons.join(', ')}`;
    const merged = this.superPackets === 0 ? '' : `, ${this.merged} of them in ${this.superPackets} super-packets`;
    const injected = `injected ${this.injected} packets (${this.injectedBytes} bytes)${merged}`;
    const errors =
      this.receiveErrors === 0 ? '' : `; ${this.receiveErrors} receive errors, the last ${errnoName(this.#lastError)}`;
    const lost = this.lost === 0 ? '' : `; lost before they were received: ${this.lost}`;
    return `received ${this.received} datagrams, ${injected}${refused}${lost}${errors}`;
  }
}
