/**
 * Server ids: which backend of a pool a number in a QUIC connection id names. An open-addressed hash table in the snapshot's root, shared and
 * immutable as the rest of it; a pool's numbers are its own.
 *
 *     slot (8 words):  | server id, 16 bytes as 4 words, most significant first | pool + 1 (0: free) | backend id | 0 | 0 |
 */
import { H_PROTOCOLS, H_SERVER_IDS, SERVER_ID_WORDS } from './layout.ts';

/** One backend's number: 16 bytes, the value right-aligned. */
export interface NumberedServer {
  readonly pool: number;
  readonly serverId: Uint8Array;
  readonly backend: number;
}

const WORDS = SERVER_ID_WORDS;
const POOL_AT = 4;
const BACKEND_AT = 5;
const PLACE = H_SERVER_IDS;
const SIZE = H_PROTOCOLS;
/** Bits of H_PROTOCOLS that say which power of two the number of slots is. */
const SIZE_SHIFT = 16;

function mix(a: number, b: number, c: number, d: number, pool: number): number {
  let h = Math.imul(a ^ (pool << 24) ^ pool, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15) ^ b, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13) ^ c, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 15) ^ d, 0x27d4eb2f);
  return h ^ (h >>> 15);
}

/** The table and the bits of H_PROTOCOLS that tell its size; no words without servers. At a load of at most one half. */
export function buildServerIds(servers: readonly NumberedServer[]): { words: Int32Array; sizeBits: number } {
  if (servers.length === 0) return { words: new Int32Array(0), sizeBits: 0 };
  let power = 2;
  while (1 << power < servers.length * 2) power++;
  const mask = (1 << power) - 1;
  const words = new Int32Array((mask + 1) * WORDS);
  for (const { pool, serverId, backend } of servers) {
    const view = new DataView(serverId.buffer, serverId.byteOffset, 16);
    const id = [0, 4, 8, 12].map((at) => view.getInt32(at));
    let slot = mix(id[0], id[1], id[2], id[3], pool) & mask;
    while (words[slot * WORDS + POOL_AT] !== 0) slot = (slot + 1) & mask;
    words.set([...id, pool + 1, backend], slot * WORDS);
  }
  return { words, sizeBits: power << SIZE_SHIFT };
}

/** Backend of `pool` that the server id in the four words names, −1 when none. int32 in and out. */
export function findServerId(words: Int32Array, pool: number, a: number, b: number, c: number, d: number): number {
  const place = words[PLACE];
  if (place === 0) return -1;
  const mask = (1 << (words[SIZE] >>> SIZE_SHIFT)) - 1;
  let slot = mix(a, b, c, d, pool) & mask;
  for (;;) {
    const at = place + slot * WORDS;
    const owner = words[at + POOL_AT];
    if (owner === 0) return -1;
    if (owner === pool + 1 && words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d) {
      return words[at + BACKEND_AT];
    }
    slot = (slot + 1) & mask;
  }
}
