/**
 * The lookup table of Linux's IPVS scheduler `mh`, slot for slot (net/netfilter/ipvs/ip_vs_mh.c), so that a kernel with IPVS and this director
 * can stand behind one router. Turns: a server of weight w takes (w / gcd) >> shift slots in a row, at least one; the shift
 * keeps the largest weight below half the bits of the table's size.
 */
import { EMPTY_SLOT, MAX_MEMBERS } from '../permutation.ts';
import { foldAddress6, IPVS_OFFSET_KEY, IPVS_SKIP_KEY, ipvsHash } from './hash.ts';

/** Sizes that a kernel can be built with, CONFIG_IP_VS_MH_TAB_INDEX 8 to 17; 4,093 is the default. */
export const IPVS_TABLE_SIZES: readonly number[] = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071];
const FIRST_INDEX = 8;
/** IPVS weights are ints. */
const LARGEST_WEIGHT = 0x7fffffff;

export interface IpvsMember {
  /** 4 or 16 bytes: the real server's address. */
  readonly address: Uint8Array;
  /** The real server's port, 0 to 65,535. */
  readonly port: number;
  /** The last weight above 0 that it had: a server whose weight was set to 0 keeps its slots. 0: it never had another. */
  readonly weight: number;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** An address as `ipvsHash` takes it. Throws RangeError unless it has 4 or 16 bytes. */
export function ipvsAddress(address: Uint8Array): number {
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
  if (address.length === 4) return view.getInt32(0);
  if (address.length !== 16) throw new RangeError(`an address has 4 or 16 bytes, not ${address.length}`);
  return foldAddress6(view, 0);
}

/**
 * The table: slot → index in `members`, which stand in the order of the kernel's own list (/proc/net/ip_vs): the server added last comes
 * first. EMPTY_SLOT everywhere when no weight is above 0. `size`: one of IPVS_TABLE_SIZES. Throws RangeError for what no kernel has.
 */
export function buildIpvsTable(members: readonly IpvsMember[], size: number): Uint16Array {
  const index = IPVS_TABLE_SIZES.indexOf(size);
  if (index < 0) throw new RangeError(`an IPVS table has one of the sizes ${IPVS_TABLE_SIZES.join(', ')}, not ${size}`);
  if (members.length > MAX_MEMBERS) throw new RangeError(`a table takes at most ${MAX_MEMBERS} members, not ${members.length}`);
  for (const { weight } of members) {
    if (!Number.isInteger(weight) || weight < 0 || weight > LARGEST_WEIGHT)
      throw new RangeError(`${weight} is no weight of IPVS`);
  }
  const table = new Uint16Array(size).fill(EMPTY_SLOT);
  const divisor = members.reduce((all, { weight }) => gcd(all, weight), 0);
  if (divisor === 0) return table;
  const largest = members.reduce((most, { weight }) => Math.max(most, weight), 0) / divisor;
  // fls() counts from 1; IP_VS_MH_TAB_BITS is half the index.
  const shift = Math.max(0, 32 - Math.clz32(largest) - ((index + FIRST_INDEX) >> 1));
  const places = members.map(({ address, port, weight }) => {
    const folded = ipvsAddress(address);
    return {
      slot: (ipvsHash(folded, port, 0, IPVS_OFFSET_KEY) >>> 0) % size,
      skip: ((ipvsHash(folded, port, 0, IPVS_SKIP_KEY) >>> 0) % (size - 1)) + 1,
      turns: weight === 0 ? 0 : Math.max(1, Math.floor(weight / divisor) >> shift),
    };
  });
  let free = size;
  while (free > 0) {
    for (let i = 0; i < places.length && free > 0; i++) {
      const place = places[i];
      for (let turn = 0; turn < place.turns && free > 0; turn++) {
        while (table[place.slot] !== EMPTY_SLOT) place.slot = (place.slot + place.skip) % size;
        table[place.slot] = i;
        free--;
      }
    }
  }
  return table;
}

/**
 * Whom the kernel gives a new flow: the owner of its slot; when that one is not available, -1, or with flag mh-fallback the owner of the first
 * of the flow's further slots that is. `address`, `port`: the client's, `port` 0 unless flag mh-port is set. `available`: 1 for each
 * member that takes flows (weight above 0, not overloaded). No allocation.
 */
export function chooseIpvs(table: Uint16Array, address: number, port: number, available: Uint8Array, fallback: boolean): number {
  const size = table.length;
  const slot = (ipvsHash(address, port, 0, IPVS_OFFSET_KEY) >>> 0) % size;
  const owner = table[slot];
  if (owner === EMPTY_SLOT) return -1;
  if (available[owner] !== 0) return owner;
  if (!fallback) return -1;
  for (let offset = 0; offset < size; offset++) {
    const other = table[(ipvsHash(address, port, (offset + slot) % size, IPVS_OFFSET_KEY) >>> 0) % size];
    if (available[other] !== 0) return other;
  }
  return -1;
}
