/** What the demo says while it works: one line per finished step; on a terminal the running step is shown, too. */

export class Progress {
  readonly #stream: NodeJS.WriteStream;
  readonly #terminal: boolean;

  /** Standard error keeps standard output free for `--json`. */
  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    this.#terminal = stream.isTTY === true && process.env.TERM !== 'dumb';
  }

  /** Runs a step; its result may name what came out of it (`say`). A step that throws is shown as failed, and throws. */
  async step<T>(what: string, work: () => T | Promise<T>, say: (result: T) => string = () => ''): Promise<T> {
    const started = performance.now();
    if (this.#terminal) this.#stream.write(`  … ${what}`);
    try {
      const result = await work();
      const found = say(result);
      this.#finish('ok', found === '' ? what : `${what}: ${found}`, performance.now() - started);
      return result;
    } catch (error) {
      this.#finish('failed', what, performance.now() - started);
      throw error;
    }
  }

  line(text = ''): void {
    this.#stream.write(`${text}\n`);
  }

  #finish(word: 'ok' | 'failed', text: string, milliseconds: number): void {
    const seconds = `${(milliseconds / 1000).toFixed(1)} s`;
    if (!this.#terminal) {
      this.#stream.write(`  ${word.padEnd(6)} ${text} (${seconds})\n`);
      return;
    }
    const sign = word === 'ok' ? '\x1b[32m✔\x1b[0m' : '\x1b[31m✘\x1b[0m';
    this.#stream.write(`\r\x1b[K  ${sign} ${text} \x1b[2m${seconds}\x1b[0m\n`);
  }
}
