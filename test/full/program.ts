// A program that a line starts in a namespace: kept until it is stopped, with what it said.

import type { ChildProcess } from 'node:child_process';
import type { Namespace } from '../../src/demo/lab/namespace.ts';

const KEPT = 16_384;

export class Program {
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<number>;
  #words = '';

  private constructor(name: string, child: ChildProcess) {
    this.#name = name;
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once('error', () => resolve(127));
      child.once('close', (code) => resolve(code ?? 128));
    });
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#words = (this.#words + text).slice(-KEPT);
      });
    }
  }

  /** Starts it; resolves once it has said `word`. Throws with its words when it ends first, or after `seconds`. */
  static async start(
    namespace: Namespace,
    command: string,
    args: readonly string[],
    word: string,
    seconds = 20,
  ): Promise<Program> {
    const name = `${command} ${args.join(' ')}`.slice(0, 120);
    const program = new Program(name, namespace.spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] }));
    const deadline = performance.now() + seconds * 1000;
    let ended = false;
    program.#ended.then(() => {
      ended = true;
    });
    while (!program.#words.includes(word)) {
      if (ended || performance.now() > deadline) {
        await program.stop();
        throw new Error(`${name} did not say "${word}": ${program.#words}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return program;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** The end of what it wrote, both streams. */
  get words(): string {
    return this.#words;
  }

  /** Its exit code, once it ends by itself; throws after `seconds`, and ends it then. */
  async end(seconds: number): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), seconds * 1000);
    });
    const code = await Promise.race([this.#ended, late]);
    clearTimeout(timer);
    if (code !== null) return code;
    await this.stop();
    throw new Error(`${this.#name} did not end within ${seconds} s: ${this.#words}`);
  }

  /** SIGTERM, and SIGKILL after three seconds. Its exit code. */
  async stop(): Promise<number> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGTERM');
    const hard = setTimeout(() => this.#child.kill('SIGKILL'), 3000);
    const code = await this.#ended;
    clearTimeout(hard);
    return code;
  }
}
