/** Signals that come while a successor takes over: they are for whoever goes on. */
export class SignalsKept {
  readonly #kept = new Map<NodeJS.Signals, () => void>();

  /** `handle`: what it asks for, when we go on. */
  keep(signal: NodeJS.Signals, handle: () => void): void {
    this.#kept.set(signal, handle);
  }

  /** We go on. */
  handle(): void {
    const handlers = [...this.#kept.values()];
    this.#kept.clear();
    for (const handle of handlers) handle();
  }

  /** Another process goes on. */
  passOn(process_: number): void {
    for (const signal of this.#kept.keys()) {
      try {
        process.kill(process_, signal);
      } catch (error) {
        // It has ended already, or is another user's: then nobody is left to tell.
        if (!['ESRCH', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      }
    }
    this.#kept.clear();
  }
}
