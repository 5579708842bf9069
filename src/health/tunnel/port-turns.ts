/**
 * Who may ask from which reserved port. A datagram's answer is known by its addresses and ports alone, so questions to one service address and port
 * are each from a port of their own; when all are taken, the next waits, first come first served.
 */
import type { Turn } from '../probe.ts';

interface Asked {
  readonly taken: Set<number>;
  waiting: ((turn: Turn | null) => void)[];
}

export class PortTurns {
  /** By what is asked. */
  readonly #asked = new Map<string, Asked>();
  /** Where the search for a free port begins: behind the last one, so that what comes late for one meets nobody else soon. */
  #next: number;

  constructor(first = 0) {
    this.#next = first;
  }

  /** One of `ports` for a question to `asked`; null when all are taken. */
  free(asked: string, ports: readonly number[]): Turn | null {
    const found = this.#of(asked);
    for (let tries = 0; tries < ports.length; tries++) {
      this.#next = (this.#next + 1) % ports.length;
      const port = ports[this.#next];
      if (!found.taken.has(port)) return this.#turn(asked, found, port);
    }
    return null;
  }

  /** The same, waited for. Resolves to null when `signal` aborts, or after `close`. */
  take(asked: string, ports: readonly number[], signal: AbortSignal): Promise<Turn | null> {
    const turn = this.free(asked, ports);
    if (turn !== null) return Promise.resolve(turn);
    const found = this.#of(asked);
    return new Promise((resolve) => {
      const got = (turn: Turn | null): void => {
        signal.removeEventListener('abort', gone);
        resolve(turn);
      };
      const gone = (): void => {
        found.waiting = found.waiting.filter((other) => other !== got);
        resolve(null);
      };
      found.waiting.push(got);
      signal.addEventListener('abort', gone, { once: true });
      if (signal.aborted) gone();
    });
  }

  #of(asked: string): Asked {
    const found = this.#asked.get(asked) ?? { taken: new Set<number>(), waiting: [] };
    this.#asked.set(asked, found);
    return found;
  }

  /** Nobody waits any more. */
  close(): void {
    const waiting = [...this.#asked.values()].flatMap((found) => found.waiting);
    this.#asked.clear();
    for (const got of waiting) got(null);
  }

  #turn(asked: string, found: Asked, port: number): Turn {
    found.taken.add(port);
    let isOver = false;
    return {
      port,
      release: () => {
        if (isOver) return;
        isOver = true;
        found.taken.delete(port);
        const next = found.waiting.shift();
        if (next !== undefined) next(this.#turn(asked, found, port));
        else if (found.taken.size === 0 && this.#asked.get(asked) === found) this.#asked.delete(asked);
      },
    };
  }
}
