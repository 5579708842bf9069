/**
 * The host around a running director: looked at before the start, made ready, watched, looked at again and again, given back.
 *
 * What is wrong with the host is told once, when it is found and when it is gone; while it is an error, the director is not ready.
 */

import { CodedError } from '../base/errors.ts';
import { FIREWALL_FINDINGS } from '../host/check-firewall.ts';
import { checkHost, refusal } from '../host/checks.ts';
import type { Finding } from '../host/finding.ts';
import { Ownership } from '../host/ownership.ts';
import { unionOf, type Wanted, wishKey } from '../host/wanted.ts';
import { HostWatch } from '../host/watch.ts';
import type { EventJournal } from '../observe/events.ts';
import { type Log, RepeatedLines } from '../observe/log.ts';
import type { BoottimeClock } from '../raw-socket/clock.ts';

/** Milliseconds between two looks at everything: sysctls and rules change without a word from the kernel. */
const LOOK_EVERY = 30_000;
/** Where routes change all the time (a routing daemon), looks because of changes are this far apart: each asks for every backend. */
const LOOK_AFTER_CHANGE = 2000;

export interface HostKeeperOptions {
  readonly log: Log;
  readonly journal: EventJournal;
  readonly clock: BoottimeClock;
  /** Interfaces came, went or changed, or may have. */
  readonly linksChanged: () => void;
  /** Ways to other hosts changed, or may have. */
  readonly routesChanged: () => void;
}

function keyOf({ id, text }: Finding): string {
  return `${id} ${text}`;
}

export class HostKeeper {
  readonly #options: HostKeeperOptions;
  readonly #ownership = new Ownership();
  readonly #repeated = new RepeatedLines();
  #watch: HostWatch | null = null;
  #wanted: Wanted | null = null;
  /** What the last look found, by id and text. */
  #found: ReadonlyMap<string, Finding> = new Map();
  /** What a look for another configuration found. */
  #considered: ReadonlyMap<string, Finding> | null = null;
  /** Why routes and rules could not be brought in order the last time; empty when they could. */
  #disorder = '';
  #lookedAt = 0;
  #lookDue = 0;
  /** Another process is about to have everything. */
  #held = false;

  constructor(options: HostKeeperOptions) {
    this.#options = options;
  }

  /** Looks at the host before anything is changed, and logs what it finds. Throws CodedError when something must be changed first. */
  examine(wanted: Wanted): void {
    const findings = checkHost(wanted);
    const error = refusal(findings);
    const first = findings.find((finding) => finding.level === 'error');
    this.#report(findings.filter((finding) => finding !== first));
    if (error !== null) throw error;
    this.#found = new Map(findings.map((finding) => [keyOf(finding), finding]));
  }

  /** Takes the lock and silences the services' prefixes: from here on no packet for them is bounced, and none is handled twice. */
  silence(wanted: Wanted): void {
    this.#ownership.lock();
    this.#ownership.silence(wanted);
  }

  /** Leads the services' packets to us and begins to watch; the devices must exist. Throws what `Ownership.acquire` throws. */
  take(wanted: Wanted): void {
    this.#report(this.#ownership.acquire(wanted));
    this.#follow(wanted);
  }

  /**
   * The same after a takeover: what the predecessor made is compared with what is wanted, and its lock is ours from then on. Throws what
   * `Ownership.apply` throws; then everything is still the predecessor's.
   */
  takeOver(wanted: Wanted, lock: number): void {
    this.#report(this.#ownership.apply(wanted));
    this.#ownership.inherit(lock);
    this.#follow(wanted);
  }

  /** The lock of the network namespace, for a successor; null when it is not held. */
  get lockDescriptor(): number | null {
    return this.#ownership.lockDescriptor;
  }

  /** Another process is about to have everything: routes and rules are its own to change, until `reclaim`. */
  hold(): void {
    this.#held = true;
  }

  /** It came to nothing: what it may have changed is put in order. */
  reclaim(): void {
    this.#held = false;
    this.#ownership.distrust();
    this.apply('takeover-failed');
  }

  /** A successor has everything: nothing is watched, and nothing taken away. */
  leave(): void {
    this.#wanted = null;
    this.#ownership.leave();
  }

  #follow(wanted: Wanted): void {
    this.#wanted = wanted;
    this.#watch = new HostWatch();
    this.#lookedAt = this.#options.clock.milliseconds();
    this.#lookDue = this.#lookedAt + LOOK_EVERY;
  }

  /**
   * Looks at the host for another configuration, and logs what is new. Throws CodedError when something must be changed first; what is wrong
   * under the configuration in force too keeps nobody from changing it.
   */
  consider(wanted: Wanted): void {
    // What the firewall does, no service changes; a child process costs the forwarding threads more than all the rest.
    const firewall = [...this.#found.values()].filter(({ id }) => FIREWALL_FINDINGS.includes(id));
    const findings = [...checkHost(wanted, { firewall: false }), ...firewall];
    const fresh = findings.filter((finding) => !this.#found.has(keyOf(finding)));
    const error = refusal(fresh);
    if (error !== null) throw error;
    this.#report(fresh);
    this.#considered = new Map(findings.map((finding) => [keyOf(finding), finding]));
  }

  /**
   * Before another configuration is put in force: its services' packets are led to us too, and the tunnels of both are left alone. Throws
   * what `Ownership.apply` throws; then nothing has changed.
   */
  widen(wanted: Wanted): void {
    const before = this.#wanted;
    if (before === null) return;
    const both = unionOf(before, wanted);
    if (wishKey(both) !== wishKey(before)) this.#report(this.#ownership.apply(both));
    this.#wanted = both;
  }

  /** Only this from now on: the configuration is in force everywhere, or the one before is again. What can not be undone is told and tried again. */
  narrow(wanted: Wanted): void {
    const before = this.#wanted;
    if (before === null) return;
    this.#wanted = wanted;
    if (this.#considered !== null) this.#found = this.#considered;
    this.#considered = null;
    if (wishKey(before) !== wishKey(wanted)) this.apply('reload');
  }

  /** To be called every second: what others changed is put in order, and looked at again when it is time. */
  tend(): void {
    if (this.#wanted === null || this.#held) return;
    const now = this.#options.clock.milliseconds();
    try {
      const changes = this.#watch?.poll();
      if (changes?.links) this.#options.linksChanged();
      if (changes?.links || changes?.routes || changes?.addresses) {
        this.#options.routesChanged();
        this.#lookDue = Math.min(this.#lookDue, Math.max(now, this.#lookedAt + LOOK_AFTER_CHANGE));
        this.apply('host-changed');
      }
      if (now >= this.#lookDue) this.#look(this.#wanted, now);
    } catch (error) {
      this.#failed(error, 'host-watch-failed', 'timer');
    }
  }

  /** Brings routes and rules in order. Our own changes arrive as changes too and lead to nothing. */
  apply(cause: string): void {
    if (this.#wanted === null || this.#held) return;
    try {
      this.#report(this.#ownership.apply(this.#wanted));
      this.#disorder = '';
    } catch (error) {
      this.#disorder = this.#failed(error, 'host-apply-failed', cause);
    }
  }

  /** Why this director should not be sent traffic; empty when the host is in order. */
  reasons(): string[] {
    const reasons = [...this.#found.values()].filter(({ level }) => level === 'error').map(({ text }) => text);
    return this.#disorder === '' ? reasons : [...reasons, `routes or rules are not in order: ${this.#disorder}`];
  }

  /** Gives everything back at once; with `keepBlackholes` the services' packets stay silenced until the next start or `clean`. */
  release(options: { keepBlackholes: boolean }): readonly unknown[] {
    this.#wanted = null;
    return this.#ownership.release(options);
  }

  close(): void {
    this.#watch?.close();
    this.#watch = null;
  }

  #look(wanted: Wanted, now: number): void {
    this.#lookedAt = now;
    this.#lookDue = now + LOOK_EVERY;
    this.#options.linksChanged();
    this.apply('look');
    const found = new Map(checkHost(wanted).map((finding) => [keyOf(finding), finding]));
    const before = this.#found;
    this.#found = found;
    this.#report([...found].filter(([key]) => !before.has(key)).map(([, finding]) => finding));
    for (const [key, { id, text }] of before) {
      if (found.has(key) || this.#repeated.admit(`gone ${key}`, now) < 0) continue;
      this.#options.log.info({ event: 'host', finding: id }, `no longer so: ${text}`);
    }
  }

  #report(findings: readonly Finding[]): void {
    for (const finding of findings) {
      const { level, id, text, fix } = finding;
      const equal = this.#repeated.admit(keyOf(finding), this.#options.clock.milliseconds());
      if (equal < 0) continue;
      const fields = { event: 'host', finding: id, ...(fix === '' ? {} : { hint: fix }), ...(equal === 0 ? {} : { equal }) };
      this.#options.log[level === 'warning' ? 'warn' : level](fields, text);
    }
  }

  /** Logs it, unless it was just logged; returns its message. */
  #failed(error: unknown, event: string, cause: string): string {
    const message = error instanceof Error ? error.message : String(error);
    const equal = this.#repeated.admit(`${event} ${message}`, this.#options.clock.milliseconds());
    const hint = error instanceof CodedError ? error.hint : '';
    if (equal >= 0) this.#options.journal.record('error', event, message, { cause, hint, equal });
    return message;
  }
}
