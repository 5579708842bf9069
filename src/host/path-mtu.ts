/**
 * The path MTU of every backend: what its route allows, or less when a router on the way said so. Pure logic; whoever calls brings
 * the facts and the clock. The answer lies in shared memory, one int32 per backend id, which forwarding threads read per packet:
 *
 *     memory:  | id 0 | id 1 | id 2 | …      bytes of the largest outer IP packet, 0 = not known
 *
 * ICMP can be forged by anybody who knows our addresses, so what it can do is bounded (RFC 1191 §6, RFC 8201 §6):
 *  - It only lowers. Only the route, or time, brings a larger value back.
 *  - It does not lower below a floor: 552 over IPv4 (Linux' net.ipv4.route.min_pmtu), 1,280 over IPv6 (RFC 8200 §5: no link has less).
 *  - What it lowered lasts for `expiresAfter` from the last lowering, whatever arrives meanwhile. Then larger packets try again.
 *  - One lease is lowered exactly EXACT_STEPS times; from then on each report is rounded down to a plateau. So the number of
 *    changes is bounded (whoever announces 1499, 1498, 1497 … gets eight), and yet no true report is ever refused.
 */
import { sameAddress } from '../base/address.ts';
import { MAX_BACKENDS } from '../base/counters.ts';

export const FLOOR4 = 552;
export const FLOOR6 = 1280;
/** Seconds, as Linux' net.ipv4.route.mtu_expires and net.ipv6.route.mtu_expires. */
export const EXPIRES_AFTER = 600;
/** Lowerings of one lease that are taken as they come. */
export const EXACT_STEPS = 8;
/** The largest packet whose length a 16-bit field can say; loopback claims one byte more. */
const LARGEST = 65535;

/** MTUs of links that exist, largest first (RFC 1191 §7.1); the two smallest, 296 and 68, lie below both floors. */
const PLATEAUS = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508];

/** The most changes that ICMP can cause in one lease. */
export const MOST_STEPS = EXACT_STEPS + PLATEAUS.length;

export interface PathMtuBackend {
  /** The snapshot's id of the backend. */
  readonly id: number;
  readonly pool: string;
  readonly name: string;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** Bytes in front of the inner packet. */
  readonly overhead: number;
}

/** The interface that a route leaves by. */
export interface PathLink {
  readonly name: string;
  readonly mtu: number;
}

export interface PathMtuEntry extends PathMtuBackend {
  /** Bytes of the largest outer IP packet; 0 when neither a route nor ICMP has said anything. */
  readonly mtu: number;
  /** Bytes of the largest inner packet: `mtu` less `overhead`; 0 when `mtu` is 0. */
  readonly innerMtu: number;
  readonly source: 'route' | 'icmp' | 'unknown';
  /** What the route alone allows; 0 without a route. */
  readonly routeMtu: number;
  /** null without a route. */
  readonly link: PathLink | null;
  /** Seconds of the caller's clock at which `mtu` took this value. */
  readonly since: number;
  /** Seconds of the caller's clock at which what ICMP said is forgotten; null when nothing it said is remembered. */
  readonly expires: number | null;
}

/** A change of a backend's path MTU since the last `takeChanges`. */
export interface PathMtuChange {
  readonly backend: PathMtuBackend;
  readonly from: number;
  readonly to: number;
  /** What happened last: a router spoke, the route is another, or what a router once said has expired. */
  readonly cause: 'icmp' | 'route' | 'expired';
}

/** What a router said about a backend, as one process tells it another. */
export interface PathLease {
  readonly pool: string;
  readonly name: string;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly mtu: number;
  /** Seconds since boot. */
  readonly expires: number;
  readonly steps: number;
}

/** What became of a report. `unknown-backend`: the id is not in the table. */
export type IcmpOutcome = 'lowered' | 'not-lower' | 'unknown-backend';

interface Path {
  backend: PathMtuBackend;
  floor: number;
  mtu: number;
  since: number;
  routeMtu: number;
  /** Names the way (interface and next hop): another one is another path. */
  way: string;
  link: PathLink | null;
  /** 0 when ICMP has said nothing that still counts. */
  icmpMtu: number;
  expires: number;
  /** Lowerings in this lease. */
  steps: number;
}

export class PathMtuTable {
  /** One int32 per backend id: see the picture above. Untouched pages cost nothing. */
  readonly memory: SharedArrayBuffer;
  /** How many reports of each kind there were. `clamped`: below the floor, suspicious. `guessed`: without an MTU (RFC 1191 §5). */
  readonly counts = { lowered: 0, notLower: 0, clamped: 0, guessed: 0, rounded: 0, expired: 0 };
  readonly #cells: Int32Array;
  readonly #expiresAfter: number;
  #paths = new Map<number, Path>();
  /** Ids with a value from ICMP: what `expire` has to look at. */
  readonly #leased = new Set<number>();
  readonly #changes = new Map<number, PathMtuChange>();

  /** `expiresAfter` in seconds; `backends`: ids are below it. */
  constructor(options: { expiresAfter?: number; backends?: number } = {}) {
    this.#expiresAfter = options.expiresAfter ?? EXPIRES_AFTER;
    this.memory = new SharedArrayBuffer((options.backends ?? MAX_BACKENDS) * 4);
    this.#cells = new Int32Array(this.memory);
  }

  /**
   * The backends there are from now on. One that was there with the same address keeps what is known about it; the others start
   * unknown, and the cells of those that are gone become 0. Throws RangeError on an id that has no cell.
   */
  setBackends(backends: readonly PathMtuBackend[], now: number): void {
    const before = this.#paths;
    this.#paths = new Map();
    for (const backend of backends) {
      if (backend.id < 0 || backend.id >= this.#cells.length) throw new RangeError(`backend id ${backend.id} has no cell`);
      const known = before.get(backend.id);
      if (known !== undefined && sameAddress(known.backend.address, backend.address)) {
        known.backend = backend;
        this.#paths.set(backend.id, known);
      } else {
        this.#drop(backend.id);
        this.#paths.set(backend.id, newPath(backend, now));
      }
    }
    for (const id of before.keys()) if (!this.#paths.has(id)) this.#drop(id);
  }

  /**
   * What the route allows, in bytes of outer IP packet; 0 when there is no route. `way` names interface and next hop: when it
   * changes, what ICMP said was about another path and is forgotten (Linux keeps it per next hop, too).
   */
  fromRoute(id: number, mtu: number, now: number, way = '', link: PathLink | null = null): void {
    const path = this.#paths.get(id);
    if (path === undefined) return;
    if (path.way !== way) this.#forget(path);
    path.way = way;
    path.link = link;
    path.routeMtu = Math.min(mtu, LARGEST);
    this.#settle(path, now, 'route');
  }

  /**
   * A router could not forward a packet to this backend and said which size it can. `mtu` is unsigned; 0 over IPv4 is a router
   * older than RFC 1191, whose MTU is guessed from `quotedLength`, the size of the packet that it refused.
   */
  fromIcmp(id: number, mtu: number, now: number, quotedLength = 0): IcmpOutcome {
    const path = this.#paths.get(id);
    if (path === undefined) return 'unknown-backend';
    if (path.icmpMtu !== 0 && now >= path.expires) this.#end(path, now);
    let said = mtu;
    if (mtu === 0 && path.floor === FLOOR4) {
      this.counts.guessed++;
      said = Math.max(guess(quotedLength, path.mtu), FLOOR4);
    } else if (mtu < path.floor) {
      this.counts.clamped++;
      said = path.floor;
    }
    // More than anybody can send is no news, even while no route is known.
    if (said >= (path.mtu || LARGEST)) {
      this.counts.notLower++;
      return 'not-lower';
    }
    if (path.icmpMtu === 0) path.steps = 0;
    if (path.steps >= EXACT_STEPS) {
      this.counts.rounded++;
      said = Math.max(path.floor, plateau(said));
    }
    path.steps++;
    path.icmpMtu = said;
    path.expires = now + this.#expiresAfter;
    this.#leased.add(id);
    this.counts.lowered++;
    this.#settle(path, now, 'icmp');
    return 'lowered';
  }

  /** What ICMP said and still counts. */
  leases(): PathLease[] {
    return [...this.#paths.values()].flatMap(({ backend: { pool, name, address }, icmpMtu, expires, steps }) =>
      icmpMtu === 0 ? [] : [{ pool, name, address, mtu: icmpMtu, expires, steps }],
    );
  }

  /** Takes over what another table's `leases` were, for the backends that are here too, when their routes are known. `now`: seconds since boot. */
  inherit(leases: readonly PathLease[], now: number): void {
    for (const { pool, name, address, mtu, expires, steps } of leases) {
      for (const [id, path] of this.#paths) {
        const { backend } = path;
        if (backend.pool !== pool || backend.name !== name || !sameAddress(backend.address, address)) continue;
        if (expires <= now || mtu < path.floor || mtu >= (path.mtu || LARGEST)) continue;
        path.icmpMtu = mtu;
        path.expires = Math.min(expires, now + this.#expiresAfter);
        path.steps = steps;
        this.#leased.add(id);
        this.#settle(path, now, 'icmp');
      }
    }
  }

  /** Forgets what ICMP said longer ago than `expiresAfter`. Call it at least every few seconds. */
  expire(now: number): void {
    for (const id of this.#leased) {
      const path = this.#paths.get(id);
      if (path !== undefined && now >= path.expires) this.#end(path, now);
    }
  }

  /** Bytes of the largest outer IP packet; 0 when unknown. */
  mtu(id: number): number {
    return this.#paths.get(id)?.mtu ?? 0;
  }

  /** Every backend, in the order in which they were set. */
  report(): PathMtuEntry[] {
    return [...this.#paths.values()].map(({ backend, mtu, since, routeMtu, link, icmpMtu, expires }) => ({
      ...backend,
      mtu,
      innerMtu: Math.max(0, mtu - backend.overhead),
      source: mtu === 0 ? 'unknown' : mtu === icmpMtu ? 'icmp' : 'route',
      routeMtu,
      link,
      since,
      expires: icmpMtu === 0 ? null : expires,
    }));
  }

  /** What changed since the last call, at most one entry for each backend. */
  takeChanges(): PathMtuChange[] {
    const changes = [...this.#changes.values()];
    this.#changes.clear();
    return changes;
  }

  #drop(id: number): void {
    this.#leased.delete(id);
    this.#changes.delete(id);
    Atomics.store(this.#cells, id, 0);
  }

  #forget(path: Path): void {
    path.icmpMtu = 0;
    this.#leased.delete(path.backend.id);
  }

  #end(path: Path, now: number): void {
    this.#forget(path);
    this.counts.expired++;
    this.#settle(path, now, 'expired');
  }

  #settle(path: Path, now: number, cause: PathMtuChange['cause']): void {
    const { routeMtu, icmpMtu, backend } = path;
    const to = routeMtu === 0 || icmpMtu === 0 ? routeMtu || icmpMtu : Math.min(routeMtu, icmpMtu);
    if (to === path.mtu) {
      // A forwarding thread may have found the route smaller before us, and by now it is as it was.
      Atomics.store(this.#cells, backend.id, to);
      return;
    }
    const from = this.#changes.get(backend.id)?.from ?? path.mtu;
    if (from === to) this.#changes.delete(backend.id);
    else this.#changes.set(backend.id, { backend, from, to, cause });
    path.mtu = to;
    path.since = now;
    Atomics.store(this.#cells, backend.id, to);
  }
}

function newPath(backend: PathMtuBackend, now: number): Path {
  const floor = backend.address.length === 4 ? FLOOR4 : FLOOR6;
  return { backend, floor, mtu: 0, since: now, routeMtu: 0, way: '', link: null, icmpMtu: 0, expires: 0, steps: 0 };
}

/** The largest plateau of at most `mtu`, 0 below all of them. */
function plateau(mtu: number): number {
  return PLATEAUS.find((value) => value <= mtu) ?? 0;
}

/**
 * The next plateau below the size of a refused packet. Routers derived from 4.2BSD add the header's length to the total length
 * that they quote; a quote that is not below the present estimate may be one of theirs and is reduced (RFC 1191 §5). `estimate` 0 is
 * none: there is nothing to compare with.
 */
function guess(quotedLength: number, estimate: number): number {
  const length = estimate !== 0 && quotedLength >= estimate ? quotedLength - 20 : quotedLength;
  return plateau(length - 1);
}
