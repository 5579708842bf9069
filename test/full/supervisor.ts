// A service manager in small, for what the unit promises about crashes: Restart=on-failure, RestartSec, RestartPreventExitStatus.

import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { setting } from '../daemon/unit-file.ts';

const RESTART_MS = Number(setting('RestartSec')[0]) * 1000;
const FINAL = setting('RestartPreventExitStatus').join(' ').split(' ').map(Number);
/** systemd's own: a process that ends by one of these was asked to (systemd.service(5), SuccessExitStatus). */
const CLEAN_SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM', 'SIGPIPE'];

export class Supervisor {
  readonly #spawn: () => ChildProcess;
  /** What every process wrote to standard error. */
  words = '';
  /** How each process ended, in order: an exit code or a signal. */
  readonly ends: (number | string)[] = [];
  /** Resolves with the last of them, when no other process is started. */
  readonly over: Promise<number | string>;
  #child: ChildProcess;
  #over: (end: number | string) => void = () => {};
  #given = false;

  constructor(spawn: () => ChildProcess) {
    this.#spawn = spawn;
    this.over = new Promise((done) => {
      this.#over = done;
    });
    this.#child = this.#start();
  }

  get pid(): number {
    return this.#child.pid!;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Ends it the hard way, for good. */
  give(): void {
    this.#given = true;
    this.#child.kill('SIGKILL');
  }

  #start(): ChildProcess {
    const child = this.#spawn();
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.words += text;
    });
    child.once('close', (code, signal) => void this.#ended(code ?? signal ?? 'nothing'));
    return child;
  }

  async #ended(end: number | string): Promise<void> {
    this.ends.push(end);
    const failed = typeof end === 'number' ? end !== 0 && !FINAL.includes(end) : !CLEAN_SIGNALS.includes(end);
    if (!failed || this.#given) return this.#over(end);
    await delay(RESTART_MS);
    if (this.#given) return this.#over(end);
    this.#child = this.#start();
  }
}
