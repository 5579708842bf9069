/** One datagram and its answer: UDP, or ICMP echo. The same shape as the TCP client's: no clock, no network. */
import type { Answer } from './answer.ts';
import type { Conclusion } from './tcp-client.ts';

export interface DatagramClientOptions {
  readonly emit: () => void;
  /** null: the answer is not to this question. */
  readonly judge: (answer: Answer) => Conclusion | null;
  /** Milliseconds after which the question is sent once more. */
  readonly retryMs: number;
  /** What is missing when time is over: `no answer to the datagram`. */
  readonly awaited: string;
}

export class DatagramClient {
  readonly #options: DatagramClientOptions;
  #retryAt = 0;
  #retried = false;
  #isClosed = false;
  #conclusion: Conclusion | null = null;

  constructor(options: DatagramClientOptions) {
    this.#options = options;
  }

  get conclusion(): Conclusion | null {
    return this.#conclusion;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get awaited(): string {
    return this.#options.awaited;
  }

  start(now: number): void {
    this.#retryAt = now + this.#options.retryMs;
    this.#options.emit();
  }

  take(answer: Answer): void {
    if (this.#isClosed) return;
    this.#conclusion = this.#options.judge(answer);
    this.#isClosed = this.#conclusion !== null;
  }

  tick(now: number): void {
    if (this.#retried || this.#isClosed || now < this.#retryAt) return;
    this.#retried = true;
    this.#options.emit();
  }

  abandon(): void {
    this.#isClosed = true;
  }
}
