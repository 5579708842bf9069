/**
 * Watching files by looking at them: a name is followed anew each time, so that what is renamed into place, a symlink that is turned to another
 * target (a Kubernetes ConfigMap turns one two steps above the file) and a file on a network are seen alike. inotify sees the first, needs a
 * watch on every link of the way for the second, and never sees the third.
 */
import { statSync } from 'node:fs';

/** Milliseconds between two looks, each one system call for each file. */
const LOOK_EVERY = 500;

interface Watched {
  /** What the last look saw, '' for nothing. */
  seen: string;
  /** What was told, or there at the start. */
  told: string;
}

export interface FileWatchOptions {
  /** The file at `path` is another one, or has another content or none, and has been so for a whole look: who writes in steps is done. */
  readonly changed: (path: string) => void;
  /** Milliseconds; default 500. */
  readonly every?: number;
}

export class FileWatch {
  readonly #options: FileWatchOptions;
  #files = new Map<string, Watched>();
  #timer: NodeJS.Timeout | null = null;

  constructor(options: FileWatchOptions) {
    this.#options = options;
  }

  /** These from now on, and no others. What is there now is known; who was watched before stays as it was. */
  watch(paths: Iterable<string>): void {
    const files = new Map<string, Watched>();
    for (const path of paths) {
      const seen = identityOf(path);
      files.set(path, this.#files.get(path) ?? { seen, told: seen });
    }
    this.#files = files;
    if (files.size === 0) this.close();
    else this.#timer ??= setInterval(() => this.look(), this.#options.every ?? LOOK_EVERY);
    this.#timer?.unref();
  }

  /** One look at each; the timer does it. */
  look(): void {
    for (const [path, file] of this.#files) {
      const now = identityOf(path);
      const settled = now === file.seen;
      file.seen = now;
      if (!settled || now === file.told) continue;
      file.told = now;
      this.#options.changed(path);
    }
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}

/** Tells any two contents of a path apart that were not written within one tick of the file system's clock at the same length. */
function identityOf(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
  } catch {
    // Not there, or not to be seen: whoever reads it will say which.
    return '';
  }
}
