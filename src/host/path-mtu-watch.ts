/**
 * Keeps the path MTU of every backend current: the routes say what may be sent, routers on the way lower it by ICMP, time raises it again.
 *
 *     HostWatch ─ routesChanged() ─┐
 *     the kernel's routes ─────────┼─► PathMtuTable ─► memory (read per packet) · report() (status)
 *     IcmpListener ────────────────┘
 *            └─ unreachable ─────────► UnreachableTable (unreachable.ts)
 */
import { formatAddress } from '../base/address.ts';
import { IcmpListener, type IcmpListenerOptions, type ListenerReport } from './icmp-listener.ts';
import type { SourcePorts, Tunnel } from './icmp-quote.ts';
import { type Link, listLinks } from './links.ts';
import { type PathLease, type PathMtuBackend, type PathMtuChange, type PathMtuEntry, PathMtuTable } from './path-mtu.ts';
import { routeTo } from './routes.ts';
import { UnreachableTable } from './unreachable.ts';

/**
 * Seconds after which routes are read again although no change was announced: the kernel announces neither what it learns about a
 * path from other programs' traffic nor when it forgets it.
 */
const ROUTES_EVERY = 30;
/** Routes read in one poll at most, each a question to the kernel (about 50 µs). */
const ROUTES_PER_POLL = 64;

/** A backend and how packets get there. */
export interface PathMtuTunnel extends PathMtuBackend, Tunnel {}

interface Destination {
  readonly address: Uint8Array;
  readonly ids: number[];
}

export interface PathMtuWatchOptions extends IcmpListenerOptions {
  /** Source ports of the egress (its facts: `sourcePortBase`, `sourcePortMask` + 1). */
  readonly sourcePorts: SourcePorts;
  /** Bytes of the largest outer packet that the egress takes; default: as large as the route says. */
  readonly mostBytes?: number;
  /** Seconds for which ICMP is remembered; default 600. */
  readonly expiresAfter?: number;
  /** Backend ids are below it; default MAX_BACKENDS. */
  readonly backends?: number;
}

export class PathMtuWatch {
  readonly #options: PathMtuWatchOptions;
  readonly #table: PathMtuTable;
  readonly #listener: IcmpListener;
  /** What was said about reaching the backends at all. */
  readonly unreachable = new UnreachableTable();
  /** Ids by backend address: they share a route. */
  #byAddress = new Map<string, Destination>();
  /** Ids by source and backend address: they share a path. */
  #byPath = new Map<string, number[]>();
  /** Whose routes are still to be read in this round. */
  #due: Destination[] = [];
  /** Read before those: our own kernel says that their routes are smaller than we believe. */
  readonly #urgent = new Set<Destination>();
  #links: readonly Link[] = [];
  #nextRound = 0;

  constructor(options: PathMtuWatchOptions) {
    this.#options = options;
    this.#table = new PathMtuTable(options);
    this.#listener = new IcmpListener(options);
  }

  /** One int32 per backend id: bytes of the largest outer IP packet, 0 while unknown. The same memory for ever. */
  get memory(): SharedArrayBuffer {
    return this.#table.memory;
  }

  get icmp(): IcmpListener['counts'] {
    return this.#listener.counts;
  }

  get lowerings(): PathMtuTable['counts'] {
    return this.#table.counts;
  }

  /**
   * The backends there are from now on, with resolved tunnel sources. Reads the routes to new addresses before it returns, so that no
   * packet goes by an unknown MTU. `now` in seconds. Throws CodedError (NetlinkError; EXIT.PRIVILEGE without CAP_NET_RAW).
   */
  setTunnels(tunnels: readonly PathMtuTunnel[], now: number): void {
    this.#listener.listen(tunnels, this.#options.sourcePorts);
    this.#table.setBackends(tunnels, now);
    this.unreachable.setTunnels(tunnels);
    this.#byAddress = new Map();
    this.#byPath = new Map();
    this.#urgent.clear();
    for (const { id, address, source } of tunnels) {
      const key = formatAddress(address);
      const route = this.#byAddress.get(key);
      if (route === undefined) this.#byAddress.set(key, { address, ids: [id] });
      else route.ids.push(id);
      const path = pathKey(source, address);
      const ids = this.#byPath.get(path);
      if (ids === undefined) this.#byPath.set(path, [id]);
      else ids.push(id);
    }
    this.#beginRound(now);
    // The end of the list is read first.
    const isNew = ({ ids }: Destination) => ids.some((id) => this.#table.mtu(id) === 0);
    const [fresh, known] = [this.#due.filter(isNew), this.#due.filter((destination) => !isNew(destination))];
    this.#due = [...known, ...fresh];
    this.#readRoutes(fresh.length, now);
  }

  /** Links or routes changed (HostWatch): the next polls read all routes again. */
  routesChanged(): void {
    this.#nextRound = 0;
  }

  /**
   * To be called every 100–250 ms. Bounded: one batch of ICMP for each family and ROUTES_PER_POLL routes. Returns what changed, for the
   * log: at most one entry per backend. Throws CodedError when the kernel refuses; the next call tries again.
   */
  poll(now: number): PathMtuChange[] {
    this.#table.expire(now);
    for (const report of this.#listener.poll()) this.#hear(report, now);
    if (this.#due.length === 0 && now >= this.#nextRound) this.#beginRound(now);
    else if (this.#urgent.size > 0) this.#links = listLinks();
    this.#readRoutes(ROUTES_PER_POLL, now);
    return this.#table.takeChanges();
  }

  /** Every backend with its path MTU, where that comes from, since when and until when: for status. */
  report(): PathMtuEntry[] {
    return this.#table.report();
  }

  /** What routers said and still counts, and to go on with what another process was told (path-mtu.ts). */
  leases(): PathLease[] {
    return this.#table.leases();
  }

  inherit(leases: readonly PathLease[], now: number): void {
    this.#table.inherit(leases, now);
  }

  /** ICMP messages lost to a full receive buffer. */
  overflows(): number {
    return this.#listener.overflows();
  }

  close(): void {
    this.#listener.close();
  }

  #hear(report: ListenerReport, now: number): void {
    const { tunnel } = report;
    if (report.kind === 'too-big') {
      const ids = this.#byPath.get(pathKey(tunnel.source, tunnel.address)) ?? [];
      for (const id of ids) this.#table.fromIcmp(id, report.mtu, now, report.quotedLength);
    } else if (report.kind === 'unreachable') {
      this.unreachable.hear(tunnel, report.what, report.by, now);
    } else {
      const destination = this.#byAddress.get(formatAddress(tunnel.address));
      if (destination !== undefined) this.#urgent.add(destination);
    }
  }

  #beginRound(now: number): void {
    this.#links = listLinks();
    this.#due = [...this.#byAddress.values()];
    this.#nextRound = now + ROUTES_EVERY;
  }

  #readRoutes(most: number, now: number): void {
    for (let left = most; left > 0; left--) {
      const [urgent] = this.#urgent;
      // Taken off first: a route that can not be read is told to the caller, and the others have their turn.
      const destination = urgent ?? this.#due.pop();
      if (destination === undefined) return;
      this.#urgent.delete(destination);
      const route = routeTo(destination.address, this.#links);
      const way = route === null ? '' : `${route.interfaceIndex} ${route.gateway === null ? '' : formatAddress(route.gateway)}`;
      const found = this.#links.find(({ index }) => index === route?.interfaceIndex);
      const link = found === undefined ? null : { name: found.name, mtu: found.mtu };
      const mtu = Math.min(route?.mtu ?? 0, this.#options.mostBytes ?? Number.POSITIVE_INFINITY);
      for (const id of destination.ids) this.#table.fromRoute(id, mtu, now, way, link);
    }
  }
}

function pathKey(source: Uint8Array, address: Uint8Array): string {
  return `${formatAddress(source)} ${formatAddress(address)}`;
}
