/**
 * Which service a packet belongs to. Rule: the longest prefix that has a service for this protocol and port wins; inside one
 * prefix the narrowest port range wins, and a service for any protocol comes last. One hash probe per prefix length in use, then a search over disjoint port intervals.
 */
import type { Prefix } from '../base/address.ts';
import {
  H_INDEX4,
  H_INDEX4_MASK,
  H_INDEX6,
  H_INDEX6_MASK,
  H_INTERVALS,
  H_LENGTHS4,
  H_LENGTHS4_COUNT,
  H_LENGTHS6,
  H_LENGTHS6_COUNT,
  H_PROTOCOLS,
  INDEX4_WORDS,
  INDEX6_WORDS,
  INTERVAL_WORDS,
  indexKey,
  USES_ANY,
} from './layout.ts';
import { PROTOCOL_ANY } from './spec.ts';

const ANY = PROTOCOL_ANY;

/** What the index needs to know of a service; `service` is its number in the snapshot. */
export interface IndexedService {
  readonly prefix: Prefix;
  readonly protocol: number;
  readonly portFrom: number;
  readonly portTo: number;
  readonly service: number;
  /** Decides which service stands for an address that several have: the first by name, whatever their order. */
  readonly name?: string;
  /** Stands for a service of any protocol: what names the protocol goes before it, also with all ports. */
  readonly isAny?: boolean;
}

export function mix4(address: number, key: number): number {
  const h = Math.imul(address ^ Math.imul(key, 0x9e3779b1), 0x85ebca6b);
  return h ^ (h >>> 15);
}

export function mix6(a: number, b: number, c: number, d: number, key: number): number {
  let h = mix4(a, key);
  h = mix4(h ^ b, 0x3c6ef372);
  h = mix4(h ^ c, 0x1b873593);
  return mix4(h ^ d, 0x5bd1e995);
}

/** The four 32-bit words of a 16-byte address, or one of a 4-byte address, host numbers of big-endian bytes. */
export function addressWords(bytes: Uint8Array): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Int32Array.from({ length: bytes.length / 4 }, (_, i) => view.getInt32(i * 4));
}

function widthOf(service: IndexedService): number {
  return service.portTo - service.portFrom + (service.isAny === true ? 1 : 0);
}

/** Disjoint intervals of one prefix and protocol, ascending: in each the narrowest covering range wins, then the lower number. */
export function flattenPorts(services: readonly IndexedService[]): { from: number; to: number; service: number }[] {
  const bounds = [...new Set(services.flatMap((s) => [s.portFrom, s.portTo + 1]))].sort((a, b) => a - b);
  const intervals: { from: number; to: number; service: number }[] = [];
  for (let i = 0; i + 1 < bounds.length; i++) {
    const from = bounds[i];
    const to = bounds[i + 1] - 1;
    let best: IndexedService | null = null;
    for (const s of services) {
      if (s.portFrom > from || s.portTo < to) continue;
      const width = widthOf(s);
      const bestWidth = best === null ? Infinity : widthOf(best);
      if (width < bestWidth || (width === bestWidth && best !== null && s.service < best.service)) best = s;
    }
    if (best === null) continue;
    const last = intervals.at(-1);
    if (last !== undefined && last.service === best.service && last.to === from - 1) last.to = to;
    else intervals.push({ from, to, service: best.service });
  }
  return intervals;
}

export interface IndexParts {
  readonly lengths4: number[];
  readonly lengths6: number[];
  readonly index4: Int32Array;
  readonly index6: Int32Array;
  readonly intervals: Int32Array;
  /** Entries of both tables: their prefix, protocol, and first interval. */
  readonly entries: readonly IndexEntry[];
}

export interface IndexEntry {
  readonly prefix: Prefix;
  readonly protocol: number;
  readonly first: number;
}

/**
 * A service for any protocol stands in the index once more for each protocol that some service names, behind that one's own services of the
 * same prefix: then one search for a named protocol finds the longest prefix of either kind.
 */
function withAny(services: readonly IndexedService[]): IndexedService[] {
  const named = new Set(services.map((s) => s.protocol).filter((protocol) => protocol !== ANY));
  return services.flatMap((s) =>
    s.protocol === ANY ? [s, ...[...named].map((protocol) => ({ ...s, protocol, isAny: true }))] : [s],
  );
}

/** Builds both families' hash tables and the interval list; numbers in the entries are indexes into `intervals`, in intervals. */
export function buildIndex(given: readonly IndexedService[]): IndexParts {
  const services = withAny(given);
  const groups = new Map<string, IndexedService[]>();
  for (const s of services) {
    const words = addressWords(s.prefix.bytes).join(',');
    for (const protocol of [0, s.protocol]) {
      const id = `${s.prefix.bytes.length}/${s.prefix.length}/${protocol}/${words}`;
      const group = groups.get(id);
      if (group === undefined) groups.set(id, [s]);
      else group.push(s);
    }
  }
  const intervals: number[] = [];
  const entries4: number[][] = [];
  const entries6: number[][] = [];
  const entries: IndexEntry[] = [];
  const lengths4 = new Set<number>();
  const lengths6 = new Set<number>();
  for (const [id, group] of groups) {
    const { prefix } = group[0];
    const protocol = Number(id.split('/')[2]);
    // The entry of the address itself answers with one service of it: who asks wants to know that the address is ours, or has only that.
    const ranges = protocol === 0 ? [{ from: 0, to: 65535, service: firstByName(group).service }] : flattenPorts(group);
    const first = intervals.length / INTERVAL_WORDS;
    entries.push({ prefix, protocol, first });
    for (const range of ranges) intervals.push(range.from, range.to, range.service);
    const entry = [...addressWords(prefix.bytes), indexKey(prefix.length, protocol), first, ranges.length];
    if (prefix.bytes.length === 4) {
      entries4.push(entry);
      lengths4.add(prefix.length);
    } else {
      entries6.push([...entry, 0]);
      lengths6.add(prefix.length);
    }
  }
  const descending = (set: Set<number>) => [...set].sort((a, b) => b - a);
  return {
    lengths4: descending(lengths4),
    lengths6: descending(lengths6),
    index4: hashTable(entries4, INDEX4_WORDS, (e) => mix4(e[0], e[1]), 1),
    index6: hashTable(entries6, INDEX6_WORDS, (e) => mix6(e[0], e[1], e[2], e[3], e[4]), 4),
    intervals: Int32Array.from(intervals),
    entries,
  };
}

function firstByName(group: readonly IndexedService[]): IndexedService {
  return group.reduce((first, one) => ((one.name ?? '') < (first.name ?? '') ? one : first));
}

/** Open addressing at a load of at most one half; a key word of 0 marks a free slot. */
function hashTable(entries: number[][], width: number, hash: (entry: number[]) => number, keyAt: number): Int32Array {
  let slots = 4;
  while (slots < entries.length * 2) slots *= 2;
  const table = new Int32Array(slots * width);
  for (const entry of entries) {
    let slot = hash(entry) & (slots - 1);
    while (table[slot * width + keyAt] !== 0) slot = (slot + 1) & (slots - 1);
    table.set(entry, slot * width);
  }
  return table;
}

function serviceOfPort(words: Int32Array, first: number, count: number, port: number): number {
  const base = words[H_INTERVALS];
  let low = first;
  let high = first + count - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const at = base + middle * INTERVAL_WORDS;
    if (port < words[at]) high = middle - 1;
    else if (port > words[at + 1]) low = middle + 1;
    else return words[at + 2];
  }
  return -1;
}

/** Service of an IPv4 packet, −1 when none. `address` is the destination as a 32-bit number; protocol 0 asks for the address alone. */
export function findService4(words: Int32Array, address: number, protocol: number, port: number): number {
  const found = search4(words, address, protocol, port);
  return found >= 0 || (words[H_PROTOCOLS] & USES_ANY) === 0 ? found : search4(words, address, ANY, port);
}

/** Service of an IPv6 packet, −1 when none. The destination is the 16 bytes at `at`. */
export function findService6(words: Int32Array, view: DataView, at: number, protocol: number, port: number): number {
  const found = search6(words, view, at, protocol, port);
  return found >= 0 || (words[H_PROTOCOLS] & USES_ANY) === 0 ? found : search6(words, view, at, ANY, port);
}

function search4(words: Int32Array, address: number, protocol: number, port: number): number {
  const lengths = words[H_LENGTHS4];
  const count = words[H_LENGTHS4_COUNT];
  const table = words[H_INDEX4];
  const mask = words[H_INDEX4_MASK];
  for (let i = 0; i < count; i++) {
    const length = words[lengths + i];
    const network = length === 0 ? 0 : address & (-1 << (32 - length));
    const key = indexKey(length, protocol);
    let slot = mix4(network, key) & mask;
    for (;;) {
      const at = table + slot * INDEX4_WORDS;
      const found = words[at + 1];
      if (found === 0) break;
      if (found === key && words[at] === network) {
        const service = serviceOfPort(words, words[at + 2], words[at + 3], port);
        if (service >= 0) return service;
        break;
      }
      slot = (slot + 1) & mask;
    }
  }
  return -1;
}

/** More than one service would fit. */
const AMBIGUOUS = -2;

/** The one service of an entry's intervals and `known` (−1: none yet), or AMBIGUOUS. */
function joinSole(words: Int32Array, first: number, count: number, known: number): number {
  const base = words[H_INTERVALS];
  let sole = known;
  for (let k = first; k < first + count; k++) {
    const service = words[base + k * INTERVAL_WORDS + 2];
    if (sole >= 0 && sole !== service) return AMBIGUOUS;
    sole = service;
  }
  return sole;
}

/**
 * The service of an IPv4 packet whose port is not known: the only one that this address and protocol have in all prefixes around it; −1 when
 * there is none or more than one.
 */
export function findSoleService4(words: Int32Array, address: number, protocol: number): number {
  const sole = sole4(words, address, protocol);
  const asksAny = sole === -1 && (words[H_PROTOCOLS] & USES_ANY) !== 0;
  return Math.max(-1, asksAny ? sole4(words, address, ANY) : sole);
}

function sole4(words: Int32Array, address: number, protocol: number): number {
  const lengths = words[H_LENGTHS4];
  const table = words[H_INDEX4];
  const mask = words[H_INDEX4_MASK];
  let sole = -1;
  for (let i = 0; i < words[H_LENGTHS4_COUNT] && sole !== AMBIGUOUS; i++) {
    const length = words[lengths + i];
    const network = length === 0 ? 0 : address & (-1 << (32 - length));
    const key = indexKey(length, protocol);
    for (let slot = mix4(network, key) & mask; ; slot = (slot + 1) & mask) {
      const at = table + slot * INDEX4_WORDS;
      if (words[at + 1] === 0) break;
      if (words[at + 1] !== key || words[at] !== network) continue;
      sole = joinSole(words, words[at + 2], words[at + 3], sole);
      break;
    }
  }
  return sole;
}

/** Mask of word `index` (0–3) of an IPv6 prefix of `length` bits. */
export function mask6(length: number, index: number): number {
  const bits = length - index * 32;
  return bits <= 0 ? 0 : bits >= 32 ? -1 : -1 << (32 - bits);
}

function search6(words: Int32Array, view: DataView, at: number, protocol: number, port: number): number {
  const lengths = words[H_LENGTHS6];
  const count = words[H_LENGTHS6_COUNT];
  const table = words[H_INDEX6];
  const mask = words[H_INDEX6_MASK];
  for (let i = 0; i < count; i++) {
    const length = words[lengths + i];
    const a = view.getInt32(at) & mask6(length, 0);
    const b = view.getInt32(at + 4) & mask6(length, 1);
    const c = view.getInt32(at + 8) & mask6(length, 2);
    const d = view.getInt32(at + 12) & mask6(length, 3);
    const key = indexKey(length, protocol);
    let slot = mix6(a, b, c, d, key) & mask;
    for (;;) {
      const entry = table + slot * INDEX6_WORDS;
      const found = words[entry + 4];
      if (found === 0) break;
      if (found === key && words[entry] === a && words[entry + 1] === b && words[entry + 2] === c && words[entry + 3] === d) {
        const service = serviceOfPort(words, words[entry + 5], words[entry + 6], port);
        if (service >= 0) return service;
        break;
      }
      slot = (slot + 1) & mask;
    }
  }
  return -1;
}

/** `findSoleService4` for the 16 bytes at `at`. */
export function findSoleService6(words: Int32Array, view: DataView, at: number, protocol: number): number {
  const sole = sole6(words, view, at, protocol);
  const asksAny = sole === -1 && (words[H_PROTOCOLS] & USES_ANY) !== 0;
  return Math.max(-1, asksAny ? sole6(words, view, at, ANY) : sole);
}

function sole6(words: Int32Array, view: DataView, at: number, protocol: number): number {
  const lengths = words[H_LENGTHS6];
  const table = words[H_INDEX6];
  const mask = words[H_INDEX6_MASK];
  let sole = -1;
  for (let i = 0; i < words[H_LENGTHS6_COUNT] && sole !== AMBIGUOUS; i++) {
    const length = words[lengths + i];
    const a = view.getInt32(at) & mask6(length, 0);
    const b = view.getInt32(at + 4) & mask6(length, 1);
    const c = view.getInt32(at + 8) & mask6(length, 2);
    const d = view.getInt32(at + 12) & mask6(length, 3);
    const key = indexKey(length, protocol);
    for (let slot = mix6(a, b, c, d, key) & mask; ; slot = (slot + 1) & mask) {
      const entry = table + slot * INDEX6_WORDS;
      if (words[entry + 4] === 0) break;
      const same = words[entry] === a && words[entry + 1] === b && words[entry + 2] === c && words[entry + 3] === d;
      if (words[entry + 4] !== key || !same) continue;
      sole = joinSole(words, words[entry + 5], words[entry + 6], sole);
      break;
    }
  }
  return sole;
}
