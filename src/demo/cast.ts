/** The processes of the demo: each is one child in one namespace, watched, with its last words kept for the case that it fails. */
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CodedError } from '../base/errors.ts';
import type { Namespace } from './lab/namespace.ts';

const KEPT = 64 * 1024;

/**
 * Path of a program of this package next to this file's own kind: `.js` when built, `.ts` when run from source. The suite builds first and
 * says so (GUE_DIRECTOR_BUILT=1): then a run from source takes the built one, which starts in a third of the processor time.
 */
export function program(relative: string): string {
  const here = import.meta.url;
  if (!here.endsWith('.ts')) return fileURLToPath(new URL(`${relative}.js`, here));
  if (process.env.GUE_DIRECTOR_BUILT === '1') {
    const built = fileURLToPath(new URL(`../../dist/demo/${relative}.js`, here));
    if (existsSync(built)) return built;
  }
  return fileURLToPath(new URL(`${relative}.ts`, here));
}

/**
 * The loader among Node's own arguments, when this process runs from source, and none of the others: the test runner of Node 24
 * hands its children every option there is, and with --report-signal a daemon would write a report wherever it stands.
 */
export function loaderArguments(all: readonly string[] = process.execArgv): string[] {
  const at = all.indexOf('--import');
  return [...all.filter((word) => word.startsWith('--import=')), ...(at >= 0 ? all.slice(at, at + 2) : [])];
}

/** A program of this package as a child: Node, its loader, the program. */
export function nodeCommand(relative: string, ...args: string[]): [string, string[]] {
  const file = program(relative);
  return [process.execPath, [...(file.endsWith('.ts') ? loaderArguments() : []), file, ...args]];
}

export class Actor {
  readonly name: string;
  readonly child: ChildProcess;
  readonly ended: Promise<number>;
  #said = '';
  #output = '';
  #onText: () => void = () => {};

  private constructor(name: string, child: ChildProcess) {
    this.name = name;
    this.child = child;
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#said += `${error.message}\n`;
        resolve(1);
      });
      // `close`, not `exit`: everything that it wrote has arrived.
      child.once('close', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
    });
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => {
        this.#said = (this.#said + text).slice(-KEPT);
        if (stream === child.stdout) this.#output += text;
        this.#onText();
      });
    }
  }

  /** Starts a program of this package (`relative` to src/demo, without extension) in a namespace. */
  static start(name: string, namespace: Namespace, relative: string, ...args: string[]): Actor {
    const [command, all] = nodeCommand(relative, ...args);
    return Actor.command(name, namespace, command, ...all);
  }

  /** Starts any command in a namespace. */
  static command(name: string, namespace: Namespace, command: string, ...args: string[]): Actor {
    return Actor.watch(name, namespace.spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] }));
  }

  /** Watches a child that somebody started with pipes. */
  static watch(name: string, child: ChildProcess): Actor {
    return new Actor(name, child);
  }

  /** What it wrote lately, both streams in the order of arrival. */
  get words(): string {
    return this.#said;
  }

  /** Its whole standard output so far. */
  get output(): string {
    return this.#output;
  }

  /** Resolves when `word` has been written; throws with the last words when it ends first, or after `seconds`. */
  says(word: string, seconds = 20): Promise<void> {
    return this.#until(() => this.#said.includes(word), seconds);
  }

  /** The first `count` lines of standard output, once they are there; throws like `says`. */
  async lines(count: number, seconds: number): Promise<string[]> {
    await this.#until(() => this.#output.split('\n').length > count, seconds);
    return this.#output.split('\n').slice(0, count);
  }

  async #until(condition: () => boolean, seconds: number): Promise<void> {
    if (condition()) return;
    const met = new Promise<void>((resolve) => {
      this.#onText = () => {
        if (condition()) resolve();
      };
    });
    await Promise.race([met, this.fails(seconds)]);
  }

  /** Never resolves; throws when the process ends or the time is over. Raced against what should happen first. */
  async fails(seconds: number): Promise<never> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`was not ready after ${seconds} s`), seconds * 1000);
      timer.unref();
    });
    const what = await Promise.race([late, this.ended.then((code) => `ended with exit code ${code}`)]);
    clearTimeout(timer);
    throw new CodedError('GD_DEMO_PROCESS', `${this.name} ${what}`, { hint: lastLines(this.#said, 12) });
  }

  /** Asks it to end and waits. Returns its exit code. */
  async stop(): Promise<number> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGTERM');
    return this.ended;
  }
}

/** The last lines of a text, for an error message. */
export function lastLines(text: string, count: number): string {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}
