/**
 * What becomes of a later fragment whose first one has not been seen: it names no port, so all that is known is address and protocol. One word for
 * each entry of the service index, beside the entry's first interval:
 *
 *     ≥ 0     number of a service: every service of this address and protocol finds its backend by the same addresses in the same pool
 *     −1      it must wait for the first fragment, which has the ports
 *     −2      no service of this address and protocol takes fragments
 */
import type { Prefix } from '../base/address.ts';
import {
  H_FRAGMENT_RULES,
  H_INDEX4,
  H_INDEX4_MASK,
  H_INDEX6,
  H_INDEX6_MASK,
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
import { type IndexParts, mask6, mix4, mix6 } from './service-index.ts';
import { PROTOCOL_ANY, type ServiceSpec } from './spec.ts';

export const RULE_HOLD = -1;
export const RULE_DROP = -2;
/** The address has no service of this protocol. */
export const RULE_NONE = -3;

/** TCP, UDP, SCTP; and what may be any of them. */
const PORTS: ReadonlySet<number> = new Set([6, 17, 132, PROTOCOL_ANY]);

interface RuledService extends ServiceSpec {
  /** Number of its pool in the snapshot. */
  readonly poolNumber: number;
}

/** By what the service's fragments are hashed when nothing else is known of them; empty when by nothing. */
function addressesOf(service: RuledService): string {
  if (service.affinity === '3-tuple' || service.affinity === 'source-address') return service.affinity;
  // A protocol without ports has no flows but those of its addresses.
  const hasPorts = PORTS.has(service.protocol);
  return hasPorts && service.fragments !== 'by-address' ? '' : '3-tuple';
}

/** Rules in the order of the index's intervals, which only the first of each entry has. `services`: as their numbers say. */
export function fragmentRules(index: IndexParts, services: readonly RuledService[]): Int32Array {
  const rules = new Int32Array(index.intervals.length / INTERVAL_WORDS).fill(RULE_NONE);
  const around = servicesAround(services);
  for (const { prefix, protocol, first } of index.entries) {
    if (protocol === 0) continue;
    // What no service of the protocol takes is for those of any. A port that the longest prefix has no service for is found under a shorter one.
    const own = around(prefix).filter((service) => service.protocol === protocol || service.protocol === PROTOCOL_ANY);
    if (own.length === 0) continue;
    const takes = own.filter(({ fragments }) => fragments !== 'drop');
    if (takes.length === 0) {
      rules[first] = RULE_DROP;
      continue;
    }
    const same = own.every(
      (service) =>
        service.fragments !== 'drop' &&
        addressesOf(service) !== '' &&
        addressesOf(service) === addressesOf(own[0]) &&
        (service.fragments ?? 'hold') === (own[0].fragments ?? 'hold') &&
        service.poolNumber === own[0].poolNumber,
    );
    rules[first] = same ? services.indexOf(own[0]) : RULE_HOLD;
  }
  return rules;
}

/** Finds the services whose prefixes hold one, in their order: a look for each length of prefix, not for each service. */
export function servicesAround<Service extends ServiceSpec>(services: readonly Service[]): (prefix: Prefix) => Service[] {
  const places = new Map<string, number[]>();
  const lengths = new Set<number>();
  services.forEach(({ prefix }, i) => {
    const key = keyOf(prefix.bytes, prefix.length);
    const others = places.get(key);
    if (others === undefined) places.set(key, [i]);
    else others.push(i);
    lengths.add(prefix.length);
  });
  return ({ bytes, length }) => {
    const found: number[] = [];
    for (const one of lengths) if (one <= length && one <= bytes.length * 8) found.push(...(places.get(keyOf(bytes, one)) ?? []));
    return found.sort((a, b) => a - b).map((i) => services[i]);
  };
}

/** The first `length` bits of an address, with family and length, as text. */
function keyOf(bytes: Uint8Array, length: number): string {
  let key = `${bytes.length}/${length}`;
  for (let i = 0; i * 8 < length; i++) {
    const rest = length - i * 8;
    key += `,${rest >= 8 ? bytes[i] : bytes[i] & (0xff << (8 - rest))}`;
  }
  return key;
}

function search4(words: Int32Array, address: number, protocol: number): number {
  const lengths = words[H_LENGTHS4];
  const count = words[H_LENGTHS4_COUNT];
  const table = words[H_INDEX4];
  const mask = words[H_INDEX4_MASK];
  for (let i = 0; i < count; i++) {
    const length = words[lengths + i];
    const network = length === 0 ? 0 : address & (-1 << (32 - length));
    const key = indexKey(length, protocol);
    for (let slot = mix4(network, key) & mask; words[table + slot * INDEX4_WORDS + 1] !== 0; slot = (slot + 1) & mask) {
      const at = table + slot * INDEX4_WORDS;
      if (words[at + 1] === key && words[at] === network) return words[words[H_FRAGMENT_RULES] + words[at + 2]];
    }
  }
  return RULE_NONE;
}

function search6(words: Int32Array, view: DataView, at: number, protocol: number): number {
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
    for (let slot = mix6(a, b, c, d, key) & mask; words[table + slot * INDEX6_WORDS + 4] !== 0; slot = (slot + 1) & mask) {
      const entry = table + slot * INDEX6_WORDS;
      const differs = (words[entry] ^ a) | (words[entry + 1] ^ b) | (words[entry + 2] ^ c) | (words[entry + 3] ^ d);
      if ((differs | (words[entry + 4] ^ key)) === 0) return words[words[H_FRAGMENT_RULES] + words[entry + 5]];
    }
  }
  return RULE_NONE;
}

/** Rule for an IPv4 destination (as a 32-bit number) and protocol, RULE_NONE when no service takes both. */
export function fragmentRule4(words: Int32Array, address: number, protocol: number): number {
  const rule = search4(words, address, protocol);
  return rule !== RULE_NONE || (words[H_PROTOCOLS] & USES_ANY) === 0 ? rule : search4(words, address, PROTOCOL_ANY);
}

/** The same for the 16 bytes at `at`. */
export function fragmentRule6(words: Int32Array, view: DataView, at: number, protocol: number): number {
  const rule = search6(words, view, at, protocol);
  return rule !== RULE_NONE || (words[H_PROTOCOLS] & USES_ANY) === 0 ? rule : search6(words, view, at, PROTOCOL_ANY);
}
