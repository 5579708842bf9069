/**
 * Keeps the next hop of every backend current, for an egress that writes link headers itself: the kernel's routes say which neighbour a packet goes to, its
 * neighbour tables which MAC address that has. Both are followed by notifications, and read again now and then.
 *
 *     backend ─ route ─► interface, neighbour ─ neighbour table ─► MAC address ─┐
 *     threads: asked for (no way was there) ─► the kernel looks for it          ├─► NextHopTable (read per packet)
 *     neighbour stale ───────────────────────► the kernel makes sure of it   ◄──┘
 *
 * The kernel verifies a neighbour only when it sends to it, and we send past it. So it is told that the neighbour is used (NTF_USE), when an entry is stale or missing
 * and wanted: what it does then, and how often, is its own affair (net.ipv4.neigh), but at most once a second it is told.
 */
import { formatAddress } from '../base/address.ts';
import type { LinkAddress } from '../base/batch.ts';
import { NetlinkSocket } from '../raw-socket/netlink.ts';
import type { Message } from '../raw-socket/netlink-message.ts';
import { ROUTING_GROUPS, RTM_DELNEIGH, RTM_NEWNEIGH } from '../raw-socket/netlink-route.ts';
import { type LinkEnd, listLinkEnds, tagOver } from './link-ends.ts';
import { decodeNeighbour, listNeighbours, type Neighbour, resolveNeighbour } from './neighbours.ts';
import { type Route, routeTo } from './routes.ts';

/** Milliseconds after which everything is read again although no change was announced. */
const ROUND_EVERY = 30_000;
/** Where routes change all the time (a routing daemon), rounds because of changes are this far apart. */
const ROUND_AFTER_CHANGE = 500;
/** After the kernel did not answer. */
const ROUND_AFTER_FAILURE = 1000;
/** Routes read in one poll at most, each a question to the kernel (about 50 µs). */
const ROUTES_PER_POLL = 64;
/** Milliseconds between two times that the kernel is told of one neighbour's use. */
const ASK_EVERY = 1000;
/** Neighbours that it is told of in one poll at most. */
const ASKS_PER_POLL = 64;
const ETHERNET_BYTES = 6;

/** How packets to a backend go on the link; `vlan`: its tag's 16 bits. */
export interface LinkWay {
  readonly destination: LinkAddress;
  readonly source: LinkAddress;
  readonly vlan: number | null;
  /** Bytes of the largest IP packet. */
  readonly mtu: number;
}

/** Where the ways are written; io/xdp/next-hops.ts fits. */
export interface NextHopTable {
  set(backend: number, way: LinkWay): void;
  clear(backend: number): unknown;
  /** True once after a packet found no way to this backend. */
  takeAsked(backend: number): boolean;
}

/** `elsewhere`: its route leaves by another interface than the egress. `unresolved`: nobody has answered for its next hop yet, or any more. */
export type NextHopState = 'known' | 'unresolved' | 'no-route' | 'elsewhere';

export interface NextHopEntry {
  readonly address: Uint8Array;
  readonly ids: readonly number[];
  readonly state: NextHopState;
  /** Name of the interface that the route leaves by; empty without a route. */
  readonly interface: string;
  /** The neighbour; null without a route. */
  readonly neighbour: Uint8Array | null;
  /** Milliseconds of the caller's clock at which it came into this state. */
  readonly since: number;
}

interface Destination {
  readonly address: Uint8Array;
  ids: readonly number[];
  state: NextHopState;
  since: number;
  /** From its route; null without one, and for one that leaves elsewhere. */
  way: { readonly end: LinkEnd; readonly vlan: number | null; readonly mtu: number; readonly hop: Hop } | null;
  interface: string;
  neighbour: Uint8Array | null;
  /** What the table has, as text; empty for nothing. */
  written: string;
}

interface Hop {
  readonly interfaceIndex: number;
  readonly address: Uint8Array;
  linkAddress: Uint8Array | null;
  isStale: boolean;
  /** The kernel is to be told that it is used. */
  isWanted: boolean;
  askedAt: number;
  readonly users: Set<Destination>;
}

export interface NextHopWatchOptions {
  /** Name of the interface that frames leave by. Routes may name it, or a VLAN interface on top of it. */
  readonly device: string;
  readonly table: NextHopTable;
  /** Bytes of the largest IP packet that the egress takes. */
  readonly mostBytes: number;
}

export class NextHopWatch {
  readonly #options: NextHopWatchOptions;
  readonly #socket = new NetlinkSocket({
    groups: ROUTING_GROUPS,
  });
  /** By address of the backend: those of one address share a way. */
  #destinations = new Map<string, Destination>();
  /** By interface and address of the neighbour. */
  #hops = new Map<string, Hop>();
  #ends: readonly LinkEnd[] = [];
  /** Whose routes are still to be read in this round. */
  #due: Destination[] = [];
  #nextRound = 0;
  #lastRound = Number.NEGATIVE_INFINITY;

  constructor(options: NextHopWatchOptions) {
    this.#options = options;
  }

  /**
   * The backends there are from now on. Reads the routes to new addresses before it returns, and has their neighbours looked for. Throws NetlinkError; `poll` goes on
   * with what is still to be read.
   */
  setBackends(backends: readonly { readonly id: number; readonly address: Uint8Array }[], now: number): void {
    const { table } = this.#options;
    const ids = new Map<string, { readonly address: Uint8Array; readonly ids: number[] }>();
    const kept = new Set<number>();
    for (const { id, address } of backends) {
      const key = formatAddress(address);
      const known = ids.get(key);
      if (known === undefined) ids.set(key, { address, ids: [id] });
      else known.ids.push(id);
      kept.add(id);
    }
    const before = this.#destinations;
    for (const old of before.values()) for (const id of old.ids) if (!kept.has(id)) table.clear(id);
    this.#destinations = new Map();
    const found: Destination[] = [];
    for (const [key, { address, ids: wanted }] of ids) {
      const old = before.get(key);
      const destination = old ?? fresh(address, now);
      before.delete(key);
      this.#destinations.set(key, destination);
      if (old === undefined) found.push(destination);
      if (destination.ids.join() === wanted.join()) continue;
      // What the table has for an id that comes here may be somebody else's.
      for (const id of wanted) if (!destination.ids.includes(id)) table.clear(id);
      destination.ids = wanted;
      destination.written = '';
      if (old !== undefined) this.#write(destination, now);
    }
    for (const gone of before.values()) gone.way?.hop.users.delete(gone);
    this.#due = this.#due.filter((destination) => !before.has(formatAddress(destination.address)));
    if (found.length === 0) return;
    this.#due.push(...found);
    this.#attempt(now, () => {
      this.#ends = listLinkEnds();
      this.#readRoutes(found.length, now);
      this.#ask(now);
    });
  }

  /** To be called every 100 ms or so. Bounded in what it asks of the kernel. Throws NetlinkError; the next call goes on. */
  poll(now: number): void {
    this.#attempt(now, () => {
      const { messages, overrun } = this.#socket.drain();
      let changed = overrun;
      for (const message of messages) {
        if (isNeighbour(message)) this.#hear(decodeNeighbour(message), now);
        else changed = true;
      }
      if (changed) this.#nextRound = Math.min(this.#nextRound, this.#lastRound + ROUND_AFTER_CHANGE);
      if (this.#due.length === 0 && now >= this.#nextRound) this.#beginRound(now);
      this.#readRoutes(ROUTES_PER_POLL, now);
      this.#ask(now);
    });
  }

  /** What the kernel did not tell is asked for again soon, not only when a round is due. */
  #attempt(now: number, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#nextRound = Math.min(this.#nextRound, now + ROUND_AFTER_FAILURE);
      throw error;
    }
  }

  /** Every backend address and what is known of its way: for the log, and for status. */
  entries(): NextHopEntry[] {
    return [...this.#destinations.values()].map(({ address, ids, state, interface: name, neighbour, since }) => {
      return { address, ids, state, interface: name, neighbour, since };
    });
  }

  close(): void {
    this.#socket.close();
  }

  /** Interfaces and neighbours are read at once, routes a few at a time. */
  #beginRound(now: number): void {
    this.#lastRound = now;
    this.#nextRound = now + ROUND_EVERY;
    this.#ends = listLinkEnds();
    this.#due = [...this.#destinations.values()];
    for (const [key, hop] of this.#hops) {
      if (hop.users.size === 0) this.#hops.delete(key);
      // Who was not there half a minute ago may be now.
      else hop.isWanted = true;
    }
    this.#readNeighbours(now);
  }

  #readNeighbours(now: number): void {
    const missing = new Set(this.#hops.values());
    for (const neighbour of listNeighbours()) {
      const hop = this.#hops.get(hopKey(neighbour.interfaceIndex, neighbour.address));
      if (hop === undefined) continue;
      missing.delete(hop);
      this.#hear(neighbour, now);
    }
    for (const { interfaceIndex, address } of missing)
      this.#hear({ interfaceIndex, address, linkAddress: null, isStale: false }, now);
  }

  #hear(neighbour: Neighbour | null, now: number): void {
    if (neighbour === null) return;
    const hop = this.#hops.get(hopKey(neighbour.interfaceIndex, neighbour.address));
    if (hop === undefined) return;
    hop.linkAddress = neighbour.linkAddress?.length === ETHERNET_BYTES ? neighbour.linkAddress : null;
    hop.isStale = neighbour.isStale;
    for (const user of hop.users) this.#write(user, now);
  }

  #readRoutes(most: number, now: number): void {
    let isNew = false;
    for (let left = most; left > 0; left--) {
      // Taken off first: a route that can not be read is told to the caller, and the others have their turn.
      const destination = this.#due.pop();
      if (destination === undefined) break;
      const before = this.#hops.size;
      this.#follow(destination, routeTo(destination.address, this.#ends), now);
      if (this.#hops.size > before) isNew = true;
    }
    if (isNew) this.#readNeighbours(now);
  }

  #follow(destination: Destination, route: Route | null, now: number): void {
    destination.way?.hop.users.delete(destination);
    destination.way = null;
    const { device, mostBytes } = this.#options;
    const end = this.#ends.find(({ index }) => index === route?.interfaceIndex);
    destination.interface = end?.name ?? '';
    destination.neighbour = null;
    if (route !== null && end !== undefined && route.type === 'unicast') {
      const tag = tagOver(end, device, this.#ends);
      destination.neighbour = route.gateway ?? destination.address;
      if (tag !== null && end.address.length === ETHERNET_BYTES) {
        const hop = this.#hop(end.index, destination.neighbour);
        hop.users.add(destination);
        destination.way = { end, vlan: tag === 0 ? null : tag, mtu: Math.min(route.mtu, mostBytes), hop };
      }
    }
    this.#write(destination, now);
  }

  #hop(interfaceIndex: number, address: Uint8Array): Hop {
    const key = hopKey(interfaceIndex, address);
    const known = this.#hops.get(key);
    if (known !== undefined) return known;
    const hop: Hop = {
      interfaceIndex,
      address,
      linkAddress: null,
      isStale: false,
      // Looked for before the first packet asks.
      isWanted: true,
      askedAt: Number.NEGATIVE_INFINITY,
      users: new Set(),
    };
    this.#hops.set(key, hop);
    return hop;
  }

  /** Brings the table in line with what is known of one destination. What has not changed is not touched: a thread would find it missing for a moment. */
  #write(destination: Destination, now: number): void {
    const { table } = this.#options;
    const { way, ids } = destination;
    const to = way?.hop.linkAddress ?? null;
    const state: NextHopState =
      way === null ? (destination.neighbour === null ? 'no-route' : 'elsewhere') : to === null ? 'unresolved' : 'known';
    if (state !== destination.state) {
      destination.state = state;
      destination.since = now;
    }
    const text = way === null || to === null ? '' : `${to.join()} ${way.end.address.join()} ${way.vlan} ${way.mtu}`;
    if (text === destination.written) return;
    destination.written = text;
    for (const id of ids) {
      if (way === null || to === null) table.clear(id);
      else table.set(id, { destination: linkAddress(to), source: linkAddress(way.end.address), vlan: way.vlan, mtu: way.mtu });
    }
  }

  /** Tells the kernel which neighbours are used. */
  #ask(now: number): void {
    const { table } = this.#options;
    for (const { way, ids, state } of this.#destinations.values()) {
      if (state === 'known') continue;
      // All of them: what is not asked for now must not be found later.
      for (const id of ids) if (table.takeAsked(id) && way !== null) way.hop.isWanted = true;
    }
    let left = ASKS_PER_POLL;
    let failure: unknown = null;
    for (const hop of this.#hops.values()) {
      if (hop.linkAddress !== null && !hop.isStale) hop.isWanted = false;
      if (hop.users.size === 0 || !(hop.isWanted || hop.isStale) || now - hop.askedAt < ASK_EVERY) continue;
      if (left-- === 0) break;
      hop.askedAt = now;
      hop.isWanted = false;
      try {
        resolveNeighbour(hop.interfaceIndex, hop.address);
      } catch (error) {
        // The others have their turn all the same.
        failure ??= error;
      }
    }
    if (failure !== null) throw failure;
  }
}

function fresh(address: Uint8Array, now: number): Destination {
  return { address, ids: [], state: 'no-route', since: now, way: null, interface: '', neighbour: null, written: '' };
}

function hopKey(interfaceIndex: number, address: Uint8Array): string {
  return `${interfaceIndex} ${formatAddress(address)}`;
}

function isNeighbour({ type }: Message): boolean {
  return type === RTM_NEWNEIGH || type === RTM_DELNEIGH;
}

function linkAddress(bytes: Uint8Array): LinkAddress {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return { high: view.getInt32(0), low: view.getUint16(4) };
}
