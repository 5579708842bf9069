/**
 * The table of a pool by its scheme: ours (`maglev`), or a peer's. The snapshot and `gue-director table` build it here, so that what is shown
 * is what is used.
 */
import {
  buildGlbRows,
  buildIpvsTable,
  buildKatranRing,
  buildTable,
  digestTable,
  EMPTY_SLOT,
  katranIdentity,
  type Member,
  sipKey,
} from '../maglev-hash/index.ts';
import type { BackendSpec, PoolSpec, SchemeSpec } from './spec.ts';

const MAGLEV: SchemeSpec = { name: 'maglev' };

export interface BuiltTable {
  /** Those that slots name by their index here, in the scheme's own order. */
  readonly backends: readonly BackendSpec[];
  /** They have slots but take no new flow; in step with `backends` (ipvs-mh). */
  readonly unavailable: readonly boolean[];
  /** Slot → index in `backends`, EMPTY_SLOT for none. */
  readonly slots: Uint16Array;
  /** glb: row → index of the second; otherwise null. */
  readonly seconds: Uint16Array | null;
  /** What the digest is taken of, and what tables are compared by: an identity tells members apart that are not treated alike. */
  readonly members: readonly Member[];
}

/** The pool's scheme as text: pools whose texts and sizes differ send the same flow to slots that have nothing to do with each other. */
export function schemeKey(pool: Pick<PoolSpec, 'scheme' | 'seed'>): string {
  const scheme = pool.scheme ?? MAGLEV;
  if (scheme.name === 'maglev') return `maglev ${pool.seed}`;
  // The real servers' port moves slots, but not what a flow's slot is.
  if (scheme.name === 'ipvs-mh') return `ipvs-mh ${scheme.port}`;
  if (scheme.name === 'katran') return `katran ${scheme.hash} ${scheme.maxVips}`;
  return `glb ${[...scheme.hashKey].join()} ${[...scheme.fields].sort().join()} ${[...scheme.secondFields].sort().join()}`;
}

/** Throws RangeError when no such table can be built. */
export function buildPoolTable(pool: PoolSpec): BuiltTable {
  const scheme = pool.scheme ?? MAGLEV;
  if (scheme.name === 'maglev') return maglevTable(pool);
  if (scheme.name === 'ipvs-mh') return ipvsTable(pool, scheme.serverPort);
  if (scheme.name === 'katran') return katranTable(pool, scheme.ring);
  return glbTable(pool, scheme.seed);
}

/** 16 hexadecimal digits: two directors with the same send every flow to the same backend. */
export function digestOf(pool: PoolSpec, built: BuiltTable): string {
  const scheme = pool.scheme ?? MAGLEV;
  if (scheme.name === 'maglev') return digestTable(built.slots, built.members);
  // How a packet's slot is found, and what becomes of one whose owner takes none, is part of every member.
  const fallback = scheme.name === 'ipvs-mh' ? ` ${scheme.fallback}` : '';
  const how = Array.from(`${schemeKey(pool)}${fallback} `, (letter) => letter.charCodeAt(0));
  const members = built.members.map(({ identity, weight }) => ({ identity: Uint8Array.from([...how, ...identity]), weight }));
  if (built.seconds === null) return digestTable(built.slots, members);
  const both = new Uint16Array(built.slots.length * 2);
  both.set(built.slots);
  both.set(built.seconds, built.slots.length);
  return digestTable(both, members);
}

function takesNewFlows(backend: BackendSpec): boolean {
  return backend.state === 'active' && backend.weight > 0;
}

function membersOf(backends: readonly BackendSpec[]): Member[] {
  return backends.map(({ address, weight }) => ({ identity: address, weight }));
}

function builtOf(backends: readonly BackendSpec[], slots: Uint16Array): BuiltTable {
  return { backends, unavailable: backends.map(() => false), slots, seconds: null, members: membersOf(backends) };
}

/**
 * One that takes no new flows for a time, draining or down, keeps its place: its slots are given to those who would have them in a table without it, and
 * no other slot changes hands. (A table built without it alone moves 0.1 to 0.6 % of the others' slots too.)
 */
function maglevTable(pool: PoolSpec): BuiltTable {
  const placed = pool.backends.filter(({ weight }) => weight > 0).sort(byAddress);
  const backends = placed.filter(takesNewFlows);
  const slots = buildTable(membersOf(backends), pool.tableSize, pool.seed);
  if (backends.length < placed.length && backends.length > 0) {
    const places = buildTable(membersOf(placed), pool.tableSize, pool.seed);
    const indices = placed.map((backend) => backends.indexOf(backend));
    for (let slot = 0; slot < slots.length; slot++) {
      const index = indices[places[slot]];
      if (index >= 0) slots[slot] = index;
    }
  }
  return builtOf(backends, slots);
}

/** A server that is draining is one of weight 0 there: it keeps the slots of the weight it had, and gets no new flow. */
function ipvsTable(pool: PoolSpec, port: number): BuiltTable {
  const backends = pool.backends.filter(({ state }) => state !== 'down');
  const slots = buildIpvsTable(
    backends.map(({ address, weight }) => ({ address, port, weight })),
    pool.tableSize,
  );
  const unavailable = backends.map((backend) => !takesNewFlows(backend));
  const members = backends.map(({ address, weight }, i) => ({
    identity: unavailable[i] ? Uint8Array.from([...address, 0]) : address,
    weight,
  }));
  return { backends, unavailable, slots, seconds: null, members };
}

/** Katran sorts the backends by the hash of their address. */
function katranTable(pool: PoolSpec, ring: 'v1' | 'v2'): BuiltTable {
  const hashed = pool.backends.filter(takesNewFlows).map((backend) => ({ backend, hash: katranIdentity(backend.address) }));
  hashed.sort((a, b) => (a.hash < b.hash ? -1 : a.hash > b.hash ? 1 : byAddress(a.backend, b.backend)));
  const members = hashed.map(({ backend, hash }) => ({ hash, weight: backend.weight }));
  return builtOf(
    hashed.map(({ backend }) => backend),
    buildKatranRing(members, pool.tableSize, ring),
  );
}

/** Weight 0 is GLB's state inactive: no place in any row. One that is down is GLB's unhealthy one: it keeps its place, behind an active one. */
function glbTable(pool: PoolSpec, seed: Uint8Array): BuiltTable {
  const backends = pool.backends.filter(({ weight }) => weight > 0).sort(byAddress);
  const { primary, secondary } = buildGlbRows(
    backends.map(({ address, state }) => ({ address, active: state !== 'draining', healthy: state !== 'down' })),
    sipKey(seed),
  );
  return { ...builtOf(backends, primary), seconds: secondary };
}

/** Slots of each backend of `built`, in its order. */
export function slotCounts({ backends, slots }: BuiltTable): Int32Array {
  const counts = new Int32Array(backends.length);
  for (let slot = 0; slot < slots.length; slot++) if (slots[slot] !== EMPTY_SLOT) counts[slots[slot]]++;
  return counts;
}

function byAddress(a: BackendSpec, b: BackendSpec): number {
  if (a.address.length !== b.address.length) return a.address.length - b.address.length;
  for (let i = 0; i < a.address.length; i++) if (a.address[i] !== b.address[i]) return a.address[i] - b.address[i];
  return 0;
}
