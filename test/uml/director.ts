// The real daemon in a lab, as an operator starts it: `node dist/cli/main.js run --config FILE`.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Namespace } from '../../src/demo/lab/namespace.ts';

const dist = resolve(import.meta.dirname, '../../dist');
const METRICS = 'http://127.0.0.1:6079';
const READY_PATIENCE_S = 15;

/** Path of a compiled program: `built('demo/web-client')`. Throws when it was not compiled, before a test fails in a puzzling way. */
export function built(program: string): string {
  const path = join(dist, `${program}.js`);
  if (!existsSync(path)) throw new Error(`${path} is not there: type "npm run build" (npm test does it first)`);
  return path;
}

/** Runs a program in a namespace without blocking this process; resolves to its standard output. */
export async function runIn(namespace: Namespace, command: string, args: readonly string[], input = ''): Promise<string> {
  const child = namespace.spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  let complaints = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    complaints += text;
  });
  child.stdin!.end(input);
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${complaints}`);
  return output;
}

export class RunningDirector {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #namespace: Namespace;
  #log = '';

  private constructor(namespace: Namespace, yaml: string) {
    this.#namespace = namespace;
    this.#folder = mkdtempSync(join(tmpdir(), 'gue-director-run-'));
    const file = join(this.#folder, 'director.yaml');
    writeFileSync(file, yaml);
    this.#child = namespace.spawn(process.execPath, [built('cli/main'), 'run', '--config', file], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => {
        this.#log += text;
      });
    }
  }

  /** Resolves when it reports that it is ready; throws with its log otherwise. */
  static async start(namespace: Namespace, yaml: string): Promise<RunningDirector> {
    const director = new RunningDirector(namespace, yaml);
    try {
      await runIn(namespace, process.execPath, [built('demo/fetch'), `${METRICS}/-/ready`, String(READY_PATIENCE_S)]);
    } catch (error) {
      await director.stop();
      throw new Error(`the director did not get ready: ${(error as Error).message}\n${director.log}`);
    }
    return director;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  get log(): string {
    return this.#log;
  }

  metrics(): Promise<string> {
    return runIn(this.#namespace, process.execPath, [built('demo/fetch'), `${METRICS}/metrics`, '5']);
  }

  /** SIGTERM; resolves to the exit code. */
  async stop(): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, 'exit');
      this.#child.kill('SIGTERM');
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
    return this.#child.exitCode;
  }
}
