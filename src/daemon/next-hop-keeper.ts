/**
 * The next hops of the backends while the director runs, for an egress that writes link headers (`packet`, `xdp`): shared memory that the forwarding threads read per
 * packet, kept current by main (host/next-hop-watch.ts); who can not be reached is in the journal.
 */
import { formatAddress } from '../base/address.ts';
import { MAX_BACKENDS } from '../base/counters.ts';
import { CodedError } from '../base/errors.ts';
import type { EgressConfig } from '../config/config.ts';
import { type NextHopEntry, NextHopWatch } from '../host/next-hop-watch.ts';
import { NextHops } from '../io/xdp/next-hops.ts';
import { FRAME_IP_BYTES } from '../io/xdp/port.ts';
import type { EventJournal } from '../observe/events.ts';
import { RepeatedLines } from '../observe/log.ts';
import type { SnapshotNames } from '../pipeline/snapshot.ts';
import type { Spec } from '../pipeline/spec.ts';
import type { BoottimeClock } from '../raw-socket/clock.ts';

/** Milliseconds for which a neighbour may be looked for before that is worth a line. */
const PATIENCE = 3000;
const TELL_EVERY = 1000;

export interface NextHopKeeperOptions {
  readonly egress: EgressConfig;
  readonly journal: EventJournal;
  readonly clock: BoottimeClock;
}

export class NextHopKeeper {
  readonly #options: NextHopKeeperOptions;
  /** What the threads read; null for an egress that leaves this to the kernel. */
  readonly memory: SharedArrayBuffer | null = null;
  readonly #watch: NextHopWatch | null = null;
  readonly #device: string = '';
  readonly #repeated = new RepeatedLines();
  /** Backends that the journal has as unreachable, by address. */
  readonly #told = new Map<string, NextHopEntry['state']>();
  #names = new Map<number, string>();
  #tellAt = 0;

  constructor(options: NextHopKeeperOptions) {
    this.#options = options;
    const { egress } = options;
    if (!('interface' in egress)) return;
    this.memory = new SharedArrayBuffer(NextHops.bytesFor(MAX_BACKENDS));
    this.#device = egress.interface;
    const mostBytes = egress.driver === 'xdp' ? FRAME_IP_BYTES : Number.POSITIVE_INFINITY;
    this.#watch = new NextHopWatch({ device: egress.interface, table: new NextHops(this.memory), mostBytes });
  }

  /** The backends of a published snapshot. What the kernel does not tell of their routes is logged, and asked for again by `tend`. */
  publish({ pools }: Spec, { backends }: SnapshotNames): void {
    if (this.#watch === null) return;
    const addresses = new Map(pools.flatMap((pool) => pool.backends.map(({ address }) => [formatAddress(address), address])));
    this.#names = new Map(backends.map(({ id, pool, name }) => [id, `${pool}/${name}`]));
    const wanted = backends.flatMap(({ id, address: text }) => {
      const address = addresses.get(text);
      return address === undefined ? [] : [{ id, address }];
    });
    const present = new Set(wanted.map(({ address }) => formatAddress(address)));
    for (const gone of this.#told.keys()) if (!present.has(gone)) this.#told.delete(gone);
    const watch = this.#watch;
    this.#attempt((now) => watch.setBackends(wanted, now));
  }

  /** To be called every 100 ms. What the kernel refuses is logged, and tried again with the next call. */
  tend(): void {
    const watch = this.#watch;
    if (watch === null) return;
    const now = this.#attempt((milliseconds) => watch.poll(milliseconds));
    if (now < this.#tellAt) return;
    this.#tellAt = now + TELL_EVERY;
    for (const entry of watch.entries()) this.#tell(entry, now);
  }

  close(): void {
    this.#watch?.close();
  }

  /** Returns the milliseconds that `work` was given. */
  #attempt(work: (now: number) => void): number {
    const { clock, journal } = this.#options;
    const now = clock.milliseconds();
    try {
      work(now);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const equal = this.#repeated.admit(message, now);
      const hint = error instanceof CodedError ? error.hint : '';
      if (equal >= 0) journal.record('error', 'next-hop-failed', message, { hint, equal });
    }
    return now;
  }

  #tell(entry: NextHopEntry, now: number): void {
    const { address, ids, state, since, neighbour } = entry;
    const text = formatAddress(address);
    const told = this.#told.get(text);
    if (state === (told ?? 'known') || (state === 'unresolved' && now - since < PATIENCE)) return;
    const { journal } = this.#options;
    const fields = { address: text, backends: ids.map((id) => this.#names.get(id) ?? String(id)) };
    const line = neighbour === null ? '' : formatAddress(neighbour);
    if (state === 'known') {
      this.#told.delete(text);
      journal.record('info', 'next-hop', `the next hop of ${text} is known: ${line} on ${entry.interface}`, fields);
      return;
    }
    this.#told.set(text, state);
    const { message, hint } = wordsFor(entry, text, line, this.#device);
    journal.record('warn', 'next-hop', message, { ...fields, hint });
  }
}

function wordsFor(entry: NextHopEntry, text: string, neighbour: string, device: string): { message: string; hint: string } {
  switch (entry.state) {
    case 'elsewhere':
      return {
        message: `packets to ${text} leave by ${entry.interface}, which the egress (${device}) does not`,
        hint: `ip route get ${text}   or set egress.interface: ${entry.interface}`,
      };
    case 'no-route':
      return { message: `there is no route to ${text}`, hint: `ip route get ${text}` };
    default:
      return {
        message: `nobody answers for ${neighbour} on ${entry.interface}, the next hop of ${text}`,
        hint: `ip neigh show ${neighbour} dev ${entry.interface}`,
      };
  }
}
