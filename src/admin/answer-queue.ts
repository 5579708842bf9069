/**
 * One answer at a time, with time for everything else between two. Answers are made by the thread that also runs health checks and feeds the watchdog, and one may take
 * a tenth of a second; a client may ask for hundreds in one segment. So connections take turns, and after each answer as much time passes as it took.
 */
import type { Socket } from 'node:net';

/** Questions of one connection that wait; the next one is refused. A client that waits for answers has one. */
const MOST_WAITING = 16;
/** Milliseconds below which an answer is not worth a pause, and the longest pause. */
const SHORT = 1;
const LONGEST_PAUSE = 250;

type Turn = () => Promise<void>;

export class AnswerQueue {
  /** In the order of their turns. */
  readonly #waiting = new Map<Socket, Turn[]>();
  #isRunning = false;

  /**
   * What `make` makes when it is this connection's turn. null: the client has gone meanwhile, and nothing was made. `refused`: too many questions of this connection
   * wait already. Throws what `make` throws.
   */
  take<T>(socket: Socket, make: () => Promise<T>): Promise<T | null | 'refused'> {
    const turns = this.#waiting.get(socket) ?? [];
    if (turns.length >= MOST_WAITING) return Promise.resolve('refused');
    this.#waiting.set(socket, turns);
    return new Promise((done, fail) => {
      turns.push(() => (socket.destroyed ? Promise.resolve(null) : make()).then(done, fail));
      if (!this.#isRunning) this.#run();
    });
  }

  /** Never rejects: turns do not. */
  async #run(): Promise<void> {
    this.#isRunning = true;
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined) break;
      const [socket, turns] = first;
      const turn = turns.shift();
      // Behind all others.
      this.#waiting.delete(socket);
      if (turns.length > 0) this.#waiting.set(socket, turns);
      if (turn === undefined) continue;
      const began = performance.now();
      await turn();
      await pause(performance.now() - began);
    }
    this.#isRunning = false;
  }
}

function pause(took: number): Promise<void> {
  return new Promise((done) => {
    if (took < SHORT) setImmediate(done);
    else setTimeout(done, Math.min(took, LONGEST_PAUSE));
  });
}
