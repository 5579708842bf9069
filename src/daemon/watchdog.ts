/**
 * Keeps the service manager informed while the director runs: its one line of status, and the watchdog, which is fed only while every
 * forwarding thread goes round its loop. Main alone being alive is not enough; main being stuck feeds nothing either.
 */
import type { Condition } from '../admin/server.ts';
import type { EventJournal } from '../observe/events.ts';
import type { ServiceManager } from './notify.ts';

/** Milliseconds between two looks. */
const LOOK_EVERY = 1000;
/** How often within the service manager's patience it is fed: main may be busy (large tables) for three quarters of it. */
const MEALS = 4;

export interface WatchdogOptions {
  readonly manager: ServiceManager;
  readonly journal: EventJournal;
  /** Every forwarding thread is alive. */
  readonly healthy: () => Condition;
  /** Routers may send packets here. */
  readonly ready: () => Condition;
  /** What it does, in a few words: `forwarding: 2 services, 10 backends`. */
  readonly activity: () => string;
}

export class Watchdog {
  readonly #options: WatchdogOptions;
  #timers: NodeJS.Timeout[] = [];
  #starving = false;

  constructor(options: WatchdogOptions) {
    this.#options = options;
  }

  start(): void {
    const { manager } = this.#options;
    if (!manager.present) return;
    this.look();
    this.#timers = [setInterval(() => this.look(), LOOK_EVERY)];
    if (manager.watchdog === null) return;
    this.feed();
    this.#timers.push(setInterval(() => this.feed(), manager.watchdog / MEALS));
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
  }

  look(): void {
    const { manager, ready, activity } = this.#options;
    const { ok, reasons } = ready();
    manager.status(ok ? activity() : `not ready: ${reasons.join('; ')}`);
  }

  feed(): void {
    const { manager, journal, healthy } = this.#options;
    const { ok, reasons } = healthy();
    if (ok) manager.feed();
    else if (!this.#starving) {
      const text = `the service manager's watchdog is not fed: ${reasons.join('; ')}`;
      journal.record('error', 'watchdog-starved', text, { hint: 'the service manager restarts the director when it goes on' });
    }
    this.#starving = !ok;
  }
}
