/** What happened to the datagrams: plain numbers, one line at the end. */
import { errnoName } from '../raw-socket/library.ts';
import { REFUSALS } from './decapsulate.ts';

export class Tally {
  received = 0;
  injected = 0;
  injectedBytes = 0;
  /** The TUN device refused the packet (it is down, or the kernel found the packet impossible). */
  deviceRefused = 0;
  /** Failed receive calls; an ICMP error about an answer may leave one on the socket. */
  receiveErrors = 0;
  #lastError = 0;
  readonly refused = new Float64Array(REFUSALS.length);

  receiveFailed(number: number): void {
    this.receiveErrors++;
    this.#lastError = number;
  }

  /** `received 12 datagrams, injected 10 packets (8400 bytes); refused: gue-variant 2`. */
  summary(): string {
    const reasons = REFUSALS.flatMap((word, i) => (i > 0 && this.refused[i] > 0 ? [`${word} ${this.refused[i]}`] : []));
    if (this.deviceRefused > 0) reasons.push(`device ${this.deviceRefused}`);
    const refused = reasons.length === 0 ? '' : `; refused: ${reasons.join(', ')}`;
    const errors =
      this.receiveErrors === 0 ? '' : `; ${this.receiveErrors} receive errors, the last ${errnoName(this.#lastError)}`;
    return `received ${this.received} datagrams, injected ${this.injected} packets (${this.injectedBytes} bytes)${refused}${errors}`;
  }
}
