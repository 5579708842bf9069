/** `health.json` in the runtime directory: what the checks knew, for a process that starts soon after this one ended. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type ExportedState, readExported } from '../health/exported.ts';

/** Seconds; what is older says nothing about now. */
const OLDEST = 60;

/** Names this boot of the machine: times since boot mean nothing in another one. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

export class HealthFile {
  readonly #path: string;
  readonly #boot: string;

  constructor(directory: string, boot = bootId()) {
    this.#path = join(directory, 'health.json');
    this.#boot = boot;
  }

  get path(): string {
    return this.#path;
  }

  /** Writes it whole or not at all, mode 0600; makes its directory when only that is missing. Throws what the file system says. */
  write(state: ExportedState): void {
    try {
      mkdirSync(dirname(this.#path), { mode: 0o750 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const fresh = `${this.#path}.${process.pid}`;
    writeFileSync(fresh, JSON.stringify({ boot: this.#boot, ...state }), { mode: 0o600 });
    renameSync(fresh, this.#path);
  }

  /** What it says at `now`, seconds since boot; else a sentence with the reason why it is of no use, null when there is no file. */
  read(now: number): ExportedState | string | null {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return code === 'ENOENT' ? null : `it can not be read: ${code}`;
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return 'it is no JSON';
    }
    if ((value as { boot?: unknown } | null)?.boot !== this.#boot) return 'it is of another boot of this machine';
    const state = readExported(value);
    if (state === null) return 'it is of another version, or damaged';
    const age = now - state.savedAt;
    return age >= 0 && age <= OLDEST ? state : `it is ${Math.round(age)} s old, at most ${OLDEST} are of use`;
  }
}
