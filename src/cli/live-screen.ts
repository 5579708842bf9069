/** A terminal taken for a picture that changes: the other screen, no cursor, keys one by one. Given back whatever way the program ends. */
import { writeSync } from 'node:fs';

const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const REST_OF_LINE = '\x1b[K';
const REST_OF_SCREEN = '\x1b[J';
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export class LiveScreen {
  readonly #input: NodeJS.ReadStream;
  readonly #output: NodeJS.WriteStream;
  #isOpen = false;
  readonly #giveBack = () => this.close();
  readonly #die = (signal: NodeJS.Signals) => {
    this.close();
    // With nobody listening any more it ends the process, and whoever waits for that sees why.
    process.kill(process.pid, signal);
  };

  constructor(input: NodeJS.ReadStream, output: NodeJS.WriteStream) {
    this.#input = input;
    this.#output = output;
  }

  /** `onKey` gets what one key press sent; `onResize` hears that the terminal has another size. */
  open(onKey: (key: string) => void, onResize: () => void): void {
    this.#isOpen = true;
    for (const signal of SIGNALS) process.on(signal, this.#die);
    process.on('exit', this.#giveBack);
    this.#output.on('resize', onResize);
    this.#output.write(ENTER);
    if (!this.#input.isTTY) return;
    this.#input.setRawMode(true);
    this.#input.setEncoding('utf8');
    this.#input.on('data', (text) => onKey(String(text)));
  }

  get size(): { readonly rows: number; readonly columns: number } {
    const { rows, columns } = this.#output;
    return { rows: rows || 24, columns: columns || 80 };
  }

  /** Over the picture before, without a flicker: nothing is cleared before it is written. */
  draw(lines: readonly string[]): void {
    if (this.#isOpen) this.#output.write(`${HOME}${lines.map((line) => `${line}${REST_OF_LINE}`).join('\r\n')}${REST_OF_SCREEN}`);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const signal of SIGNALS) process.off(signal, this.#die);
    process.off('exit', this.#giveBack);
    if (this.#input.isTTY) {
      this.#input.setRawMode(false);
      this.#input.pause();
    }
    // Synchronously: the process may be at its end.
    try {
      writeSync(1, LEAVE);
    } catch (error) {
      // The terminal is gone, and with it what there was to give back.
      if (!['EIO', 'EPIPE', 'EAGAIN'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
}
