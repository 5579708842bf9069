/**
 * Writes roots (layout.ts). A root that nobody reads any more is written again: what stands in it and is the same objects now is left as it is, so a change of
 * one pool costs its own records, whatever the others are. Every list has its place in a layout, which stays while everything fits; then a
 * root is new memory, and written as a whole.
 */
import { writeIcmp } from './icmp-policy.ts';
import * as L from './layout.ts';
import { type PoolHistory, type PoolTable, PREVIOUS_SECONDS, PREVIOUS_SECONDS_OTHERS } from './pool-history.ts';
import { clearBackend, type PoolRecord, writeBackends } from './pool-record.ts';
import type { ServicePart } from './service-part.ts';
import type { IcmpSpec } from './spec.ts';

/** Of all pools together. */
export interface PoolSums {
  /** Pools whose packets are dealt out without flow table. */
  readonly stateless: number;
  /** Bytes that any tunnel adds at most to a packet. */
  readonly mostOverhead: number;
  /** Backends whose tunnels add something to single packets. */
  readonly extras: number;
}

export interface RootParts {
  readonly generation: number;
  readonly services: ServicePart;
  /** By number. */
  readonly pools: readonly PoolRecord[];
  readonly histories: readonly PoolHistory[];
  /** Numbers of the pools that are another than in the root that was written last; null: any may be. */
  readonly changed: readonly number[] | null;
  readonly sums: PoolSums;
  /** Number of a table in the snapshot's list. */
  readonly numberOf: (table: SharedArrayBuffer) => number;
  /** While it is the same, a table that was there before has the number that it had. */
  readonly order: number;
  /** TUNNEL_WORDS each. */
  readonly tunnels: readonly (readonly number[])[];
  readonly serverIds: { readonly words: Int32Array; readonly sizeBits: number };
  /** One above the highest backend id. */
  readonly limit: number;
  readonly icmp: IcmpSpec | undefined;
}

/** Where everything stands, in words, and how much there may be of it. */
interface Layout {
  readonly words: number;
  readonly lengths4: number;
  readonly lengths6: number;
  readonly index4: number;
  readonly index6: number;
  readonly intervals: number;
  readonly rules: number;
  readonly services: number;
  readonly pools: number;
  readonly schemes: number;
  readonly tunnels: number;
  readonly backends: number;
  readonly serverIds: number;
  /** By pool: place of its members, and room for them. */
  readonly members: readonly { readonly at: number; readonly room: number }[];
  /** What it was made for. */
  readonly part: ServicePart;
  readonly tunnelRoom: number;
  readonly serverIdRoom: number;
  readonly limit: number;
}

/** A pool as it stands in a root. */
interface WrittenPool {
  readonly record: PoolRecord;
  readonly history: PoolHistory;
}

interface Root {
  readonly memory: SharedArrayBuffer;
  readonly layout: Layout;
  readonly pools: WrittenPool[];
  /** RootParts.order of the tables' numbers. */
  order: number;
  /** How many roots had been written when it was. */
  written: number;
}

/** Roots that wait to be written again. A change now and then needs one, changes that overlap a second. */
const MOST_SPARE = 2;
/** Changes that are remembered: a root that is older is compared as a whole. */
const MOST_CHANGES = 64;

export class RootWriter {
  #layout: Layout | null = null;
  readonly #roots = new WeakMap<SharedArrayBuffer, Root>();
  #spare: Root[] = [];
  /** Written last. */
  #last: Root | null = null;
  #written = 0;
  /** The pools that were another in each of the last roots, the newest at the end. */
  #changes: (readonly number[])[] = [];

  write(parts: RootParts): SharedArrayBuffer {
    if (this.#layout === null || !fits(this.#layout, parts)) {
      this.#layout = layoutOf(parts);
      this.#spare = [];
    }
    const layout = this.#layout;
    const root = this.#spare.pop() ?? this.#make(layout);
    const words = new Int32Array(root.memory);
    writeLists(words, layout, parts, root.pools.length === 0);
    this.#written++;
    this.#changes = parts.changed === null ? [] : [...this.#changes, parts.changed].slice(-MOST_CHANGES);
    writePools(words, root, parts, this.#changedSince(root));
    root.written = this.#written;
    this.#roots.set(root.memory, root);
    this.#last = root;
    return root.memory;
  }

  /** Numbers of the pools that may be another than in `root`. */
  #changedSince({ pools, written }: Root): Iterable<number> | null {
    const missed = this.#written - written;
    if (pools.length === 0 || missed > this.#changes.length) return null;
    return new Set(this.#changes.slice(-missed).flat());
  }

  /** A root more: a copy of the last one, which is quicker than to write it anew. */
  #make(layout: Layout): Root {
    const memory = new SharedArrayBuffer(layout.words * 4);
    const last = this.#last;
    if (last === null || last.layout !== layout) return { memory, layout, pools: [], order: 0, written: 0 };
    new Int32Array(memory).set(new Int32Array(last.memory));
    return { memory, layout, pools: [...last.pools], order: last.order, written: last.written };
  }

  /** Nobody reads this root any more, nor ever will. */
  release(memory: SharedArrayBuffer): void {
    const root = this.#roots.get(memory);
    if (root === undefined || root.layout !== this.#layout || this.#spare.length >= MOST_SPARE || this.#spare.includes(root))
      return;
    this.#spare.push(root);
  }
}

function membersOf({ current, previous }: PoolHistory): number {
  return current.members.length + (previous?.members.length ?? 0);
}

function fits(layout: Layout, { services, pools, histories, changed, tunnels, serverIds, limit }: RootParts): boolean {
  const hasRoom = (i: number) => membersOf(histories[i]) <= layout.members[i].room;
  return (
    layout.part === services &&
    layout.members.length === pools.length &&
    tunnels.length <= layout.tunnelRoom &&
    serverIds.words.length <= layout.serverIdRoom &&
    limit <= layout.limit &&
    (changed === null ? histories.every((_, i) => hasRoom(i)) : changed.every(hasRoom))
  );
}

function layoutOf({ services: part, pools, histories, tunnels, serverIds, limit }: RootParts): Layout {
  let words = L.HEADER_WORDS;
  const place = (room: number, alignment = 1): number => {
    words = Math.ceil(words / alignment) * alignment;
    const at = words;
    words += room;
    return at;
  };
  const { index } = part;
  // Some more ids than there are: a backend more needs no new layout.
  const ids = limit + (limit >> 6);
  const lengths4 = place(index.lengths4.length);
  const lengths6 = place(index.lengths6.length);
  const index4 = place(index.index4.length, 16);
  const index6 = place(index.index6.length, 16);
  const intervals = place(index.intervals.length);
  const rules = place(part.rules.length);
  const services = place(part.records.length, 16);
  const poolsAt = place(pools.length * L.POOL_WORDS, 16);
  const members = histories.map((history, i) => {
    // Two tables of all backends, whoever of them is in service.
    const room = Math.max(membersOf(history), 2 * pools[i].numbers.ids.length);
    return { at: place(room), room };
  });
  const schemes = place(pools.length * 2 * L.SCHEME_WORDS);
  const tunnelsAt = place(tunnels.length * L.TUNNEL_WORDS);
  const backends = place(ids * L.BACKEND_WORDS, 16);
  const serverIdsAt = place(serverIds.words.length, 16);
  const rooms = { tunnelRoom: tunnels.length, serverIdRoom: serverIds.words.length, limit: ids };
  const lists = { lengths4, lengths6, index4, index6, intervals, rules, services, pools: poolsAt, schemes };
  return { words, ...lists, tunnels: tunnelsAt, backends, serverIds: serverIdsAt, members, part, ...rooms };
}

/** Header and lists. `isNew`: the memory is all zero; otherwise what never changes within a layout stands there. */
function writeLists(words: Int32Array, layout: Layout, parts: RootParts, isNew: boolean): void {
  const { services: part, pools, tunnels, serverIds } = parts;
  const { index } = part;
  if (isNew) {
    words.set(index.lengths4, layout.lengths4);
    words.set(index.lengths6, layout.lengths6);
    words.set(index.index4, layout.index4);
    words.set(index.index6, layout.index6);
    words.set(index.intervals, layout.intervals);
    words.set(part.rules, layout.rules);
    words.set(part.records, layout.services);
    for (let id = 0; id < layout.limit; id++) words[layout.backends + id * L.BACKEND_WORDS + L.B_POOL] = -1;
  }
  words[L.H_MAGIC] = L.ROOT_MAGIC;
  words[L.H_GENERATION] = parts.generation;
  words[L.H_WORDS] = layout.words;
  words[L.H_LENGTHS4] = layout.lengths4;
  words[L.H_LENGTHS4_COUNT] = index.lengths4.length;
  words[L.H_LENGTHS6] = layout.lengths6;
  words[L.H_LENGTHS6_COUNT] = index.lengths6.length;
  words[L.H_INDEX4] = layout.index4;
  words[L.H_INDEX4_MASK] = index.index4.length / L.INDEX4_WORDS - 1;
  words[L.H_INDEX6] = layout.index6;
  words[L.H_INDEX6_MASK] = index.index6.length / L.INDEX6_WORDS - 1;
  words[L.H_INTERVALS] = layout.intervals;
  words[L.H_FRAGMENT_RULES] = layout.rules;
  words[L.H_SERVICES] = layout.services;
  words[L.H_SERVICE_COUNT] = part.count;
  words[L.H_POOLS] = layout.pools;
  words[L.H_POOL_COUNT] = pools.length;
  words[L.H_MEMBERS] = layout.members[0]?.at ?? layout.schemes;
  words[L.H_TUNNELS] = layout.tunnels;
  words[L.H_TUNNEL_COUNT] = tunnels.length;
  tunnels.forEach((end, i) => {
    words.set(end, layout.tunnels + i * L.TUNNEL_WORDS);
  });
  words[L.H_BACKENDS] = layout.backends;
  words[L.H_BACKEND_LIMIT] = parts.limit;
  words.set(serverIds.words, layout.serverIds);
  words[L.H_SERVER_IDS] = serverIds.words.length === 0 ? 0 : layout.serverIds;
  words[L.H_PROTOCOLS] = serverIds.sizeBits | part.protocols;
  words[L.H_MSS_CLAMPS] = part.clamps;
  words[L.H_STATELESS_POOLS] = parts.sums.stateless;
  words[L.H_MOST_OVERHEAD] = parts.sums.mostOverhead;
  words[L.H_TUNNEL_EXTRAS] = parts.sums.extras;
  writeIcmp(words, parts.icmp);
}

/** `among`: numbers of the pools that may be another than in this root; null: all. */
function writePools(
  words: Int32Array,
  root: Root,
  { pools, histories, numberOf, order }: RootParts,
  among: Iterable<number> | null,
): void {
  const { layout } = root;
  // A pool of which nobody has a slot has no table: every slot would be empty.
  const number = (table: PoolTable | null) => (table?.hasSlots === true ? numberOf(table.buffer) : -1);
  const areNumbered = root.order === order;
  const changed: number[] = [];
  for (const i of among !== null && areNumbered ? among : pools.keys()) {
    const [record, history] = [pools[i], histories[i]];
    const written: WrittenPool | undefined = root.pools[i];
    const isSame = written?.history === history && areNumbered;
    if (isSame && written.record === record) continue;
    if (!isSame) writePool(words, layout, i, history, number(history.current), number(history.previous));
    if (written?.record !== record) changed.push(i);
    // Those of an id that is another pool's by now are written again below.
    if (written !== undefined && written.record !== record) {
      for (const id of written.record.numbers.ids) clearBackend(words, layout.backends + id * L.BACKEND_WORDS);
    }
    root.pools[i] = { record, history };
  }
  for (const i of changed) writeBackends(words, layout.backends, pools[i], i);
  root.order = order;
}

function writePool(words: Int32Array, layout: Layout, i: number, history: PoolHistory, table: number, before: number): void {
  const { current, previous, changedAt } = history;
  const at = layout.pools + i * L.POOL_WORDS;
  const membersAt = layout.members[i].at;
  const schemeAt = layout.schemes + 2 * i * L.SCHEME_WORDS;
  words.set(current.members, membersAt);
  words[at + L.P_SIZE] = current.size;
  words[at + L.P_SEED] = current.seed;
  words[at + L.P_TABLE] = table;
  words[at + L.P_MEMBERS] = membersAt;
  words[at + L.P_PREVIOUS_SIZE] = previous?.size ?? 0;
  words[at + L.P_PREVIOUS_SEED] = previous?.seed ?? 0;
  words[at + L.P_PREVIOUS_TABLE] = before;
  words[at + L.P_PREVIOUS_MEMBERS] = previous === null ? 0 : membersAt + current.members.length;
  if (previous !== null) words.set(previous.members, membersAt + current.members.length);
  words[at + L.P_SCHEME] = current.scheme.number;
  words[at + L.P_SCHEME_AT] = schemeAt;
  words.set(current.scheme.words, schemeAt);
  // Without a previous table the number is the current one's, so that the choice need not look further.
  words[at + L.P_PREVIOUS_SCHEME] = (previous ?? current).scheme.number;
  words[at + L.P_PREVIOUS_SCHEME_AT] = schemeAt + L.SCHEME_WORDS;
  words.set((previous ?? current).scheme.words, schemeAt + L.SCHEME_WORDS);
  words[at + L.P_PREVIOUS_UNTIL] = changedAt + PREVIOUS_SECONDS;
  words[at + L.P_PREVIOUS_UNTIL_OTHERS] = changedAt + PREVIOUS_SECONDS_OTHERS;
}
