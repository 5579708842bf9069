/** Check `icmp`: a ping. Its sockets are the daemon's; whoever asks shares them. */
import { attempt, errorWords } from './attempt.ts';
import type { Probe } from './probe.ts';

/** What sends echo requests and hears replies (host/echo-socket.ts). A token, 0–65535, comes back with the reply. */
export interface Echo {
  /** Returns the error of the kernel (`EHOSTUNREACH`), null when the request was sent. Throws CodedError without the privilege. */
  ask(address: Uint8Array, token: number): string | null;
  /** Tokens of the replies since the last call. */
  heard(): number[];
}

/** A raw socket can not join Node's event loop: while replies are awaited, one looks this often. Milliseconds. */
const LOOK_EVERY = 10;
const TOKENS = 65_536;

/** One for all pings of a process. */
export class EchoProbes {
  readonly #echo: Echo;
  readonly #waiting = new Map<number, () => void>();
  #token = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(echo: Echo) {
    this.#echo = echo;
  }

  probe(): Probe {
    return {
      probe: ({ backend }, timeoutMs, signal) =>
        attempt({ timeoutMs, signal }, (end, fail) => {
          const token = this.#nextToken();
          const refused = this.#echo.ask(backend.address, token);
          if (refused !== null) {
            const error = Object.assign(new Error(`a ping could not be sent: ${refused}`), { code: refused });
            const words = errorWords(error);
            if (words === null) fail(error);
            else end(false, words);
            return () => {};
          }
          this.#waiting.set(token, () => end(true, 'echo reply'));
          this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY);
          return () => this.#forget(token);
        }),
    };
  }

  #nextToken(): number {
    do this.#token = (this.#token + 1) % TOKENS;
    while (this.#waiting.has(this.#token));
    return this.#token;
  }

  #look(): void {
    for (const token of this.#echo.heard()) this.#waiting.get(token)?.();
  }

  #forget(token: number): void {
    this.#waiting.delete(token);
    if (this.#waiting.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}
