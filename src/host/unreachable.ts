/**
 * What ICMP said about reaching the backends at all: counts by kind for each, and which have just begun. Pure: whoever calls brings the messages, which
 * are believed already (icmp-quote.ts), and the clock. A message changes nothing about forwarding: anybody who knows our addresses
 * can forge it.
 */
import { formatAddress } from '../base/address.ts';
import { type Tunnel, UNREACHABLE_KINDS, type Unreachable } from './icmp-quote.ts';

/** Seconds without a message of its kind after which the next one begins anew. */
export const QUIET_AFTER = 60;

/** A backend and its tunnel. */
export interface UnreachableTunnel extends Tunnel {
  readonly id: number;
  readonly pool: string;
  readonly name: string;
}

/** One backend. */
export interface UnreachableEntry {
  /** Messages by what they said, since the backend is configured. */
  readonly counts: Readonly<Record<Unreachable, number>>;
  /** Seconds of the caller's clock at which the last one came, and what it said; null when none came. */
  readonly last: { readonly at: number; readonly what: Unreachable } | null;
}

/** The first message of its kind about a backend, or the first after QUIET_AFTER. */
export interface UnreachableNews {
  readonly tunnel: UnreachableTunnel;
  readonly what: Unreachable;
  /** Who said so, 4 or 16 bytes: the worker, a router, or we ourselves. */
  readonly by: Uint8Array;
}

interface Heard {
  tunnel: UnreachableTunnel;
  readonly counts: Record<Unreachable, number>;
  readonly at: Map<Unreachable, number>;
  last: UnreachableEntry['last'];
}

export class UnreachableTable {
  #byId = new Map<number, Heard>();
  /** Backends with the same address and tunnel end: what is said about a packet to one is true of all. */
  #byEnd = new Map<string, Heard[]>();
  #news: UnreachableNews[] = [];

  /** The backends there are from now on. What was heard of one that stays is kept. */
  setTunnels(tunnels: readonly UnreachableTunnel[]): void {
    const known = this.#byId;
    this.#byId = new Map();
    this.#byEnd = new Map();
    for (const tunnel of tunnels) {
      const before = known.get(tunnel.id);
      // An id is given to another backend in time.
      const heard =
        before !== undefined && isSame(before.tunnel, tunnel)
          ? before
          : { tunnel, counts: noCounts(), at: new Map(), last: null };
      heard.tunnel = tunnel;
      this.#byId.set(tunnel.id, heard);
      const end = endOf(tunnel);
      const others = this.#byEnd.get(end);
      if (others === undefined) this.#byEnd.set(end, [heard]);
      else others.push(heard);
    }
    this.#news = this.#news.filter(({ tunnel }) => {
      const heard = this.#byId.get(tunnel.id);
      return heard !== undefined && isSame(heard.tunnel, tunnel);
    });
  }

  /** A message about a packet in `tunnel`. `by`: 4 or 16 bytes. `now` in seconds. */
  hear(tunnel: Tunnel, what: Unreachable, by: Uint8Array, now: number): void {
    for (const heard of this.#byEnd.get(endOf(tunnel)) ?? []) {
      const before = heard.at.get(what);
      if (before === undefined || now - before >= QUIET_AFTER) this.#news.push({ tunnel: heard.tunnel, what, by });
      heard.counts[what]++;
      heard.at.set(what, now);
      heard.last = { at: now, what };
    }
  }

  /** What began since the last call. */
  takeNews(): UnreachableNews[] {
    const news = this.#news;
    this.#news = [];
    return news;
  }

  /** One backend; null when it is not configured. */
  entry(id: number): UnreachableEntry | null {
    const heard = this.#byId.get(id);
    return heard === undefined ? null : { counts: { ...heard.counts }, last: heard.last };
  }
}

function noCounts(): Record<Unreachable, number> {
  return Object.fromEntries(UNREACHABLE_KINDS.map((kind) => [kind, 0])) as Record<Unreachable, number>;
}

function isSame(a: UnreachableTunnel, b: UnreachableTunnel): boolean {
  return a.pool === b.pool && a.name === b.name && endOf(a) === endOf(b);
}

function endOf({ address, protocols, ports }: Tunnel): string {
  return `${formatAddress(address)} ${protocols} ${ports}`;
}
