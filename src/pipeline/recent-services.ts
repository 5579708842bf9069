/**
 * The services that packets were last for: a small direct-mapped cache in front of the service index, since traffic has few
 * destinations at a time. Keys are compared whole, so it answers as the index does, only sooner (IPv4 2 ns and not 9). Nothing but
 * found services is remembered, and all is forgotten when the snapshot changes.
 *
 *     IPv4 (4 words):  | address     | protocol, port | service | plain     |
 *     IPv6 (8 words):  | address × 4 | protocol, port | service | plain | 0 |
 *
 * `plain`: the service again, −1 where its packets could be our own tunnel's, come back (own-tunnel.ts). plain-packets.ts reads it, and places a question as is done here.
 */
import type { Arena } from '../base/arena.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { H_TUNNEL_COUNT, H_TUNNELS, T_PORT, T_PROTOCOL, TUNNEL_WORDS } from './layout.ts';
import { findService4, findService6 } from './service-index.ts';

const ENTRIES = 256;
const TO_ENTRY = 24;
const WORDS4 = 2;
const WORDS6 = 3;
const MULTIPLIER = 0x9e3779b1 | 0;

// Module-local: an imported function is compared with its module's at every call.
const search4 = findService4;
const search6 = findService6;

/** To the place of a question: ((address words, the key word, xor-ed) × RECENT_MULTIPLIER >>> RECENT_SHIFT) << RECENT_WORDS4 or RECENT_WORDS6. */
export const RECENT_MULTIPLIER = MULTIPLIER;
export const RECENT_SHIFT = TO_ENTRY;
export const RECENT_WORDS4 = WORDS4;
export const RECENT_WORDS6 = WORDS6;

export interface RecentServices {
  readonly entries4: Int32Array;
  readonly entries6: Int32Array;
  /** As `findService4` and `findService6`, for TCP and UDP. */
  readonly find4: (words: Int32Array, address: number, protocol: number, port: number) => number;
  readonly find6: (words: Int32Array, view: DataView, at: number, protocol: number, port: number) => number;
  /** To be called when `words` are another snapshot's. */
  readonly forget: () => void;
}

const UDP = ipv4.PROTOCOL_UDP;

/** True when no tunnel of ours sends to that port. */
function isPlain(words: Int32Array, protocol: number, port: number): boolean {
  if (protocol !== UDP) return true;
  for (let t = 0; t < words[H_TUNNEL_COUNT]; t++) {
    const tunnel = words[H_TUNNELS] + t * TUNNEL_WORDS;
    if (words[tunnel + T_PROTOCOL] === protocol && words[tunnel + T_PORT] === port) return false;
  }
  return true;
}

/** In the memory of `arena`, where that has room, so that plain-packets.ts reaches them. */
export function recentServices(arena: Arena): RecentServices {
  // Over buffers of their own otherwise: see base/batch.ts.
  const int32 = (length: number) => {
    const at = arena.take(length * 4);
    return at < 0 ? new Int32Array(new ArrayBuffer(length * 4)) : new Int32Array(arena.memory, at, length).fill(0);
  };
  const entries4 = int32(ENTRIES << WORDS4);
  const entries6 = int32(ENTRIES << WORDS6);

  return {
    entries4,
    entries6,

    find4(words, address, protocol, port) {
      const key = (protocol << 16) | port;
      const at = (Math.imul(address ^ key, MULTIPLIER) >>> TO_ENTRY) << WORDS4;
      if (entries4[at] === address && entries4[at + 1] === key) return entries4[at + 2];
      const service = search4(words, address, protocol, port);
      if (service >= 0) {
        entries4[at] = address;
        entries4[at + 1] = key;
        entries4[at + 2] = service;
        entries4[at + 3] = isPlain(words, protocol, port) ? service : -1;
      }
      return service;
    },

    find6(words, view, addressAt, protocol, port) {
      const key = (protocol << 16) | port;
      const a = view.getInt32(addressAt);
      const b = view.getInt32(addressAt + 4);
      const c = view.getInt32(addressAt + 8);
      const d = view.getInt32(addressAt + 12);
      const at = (Math.imul(a ^ b ^ c ^ d ^ key, MULTIPLIER) >>> TO_ENTRY) << WORDS6;
      const other = (entries6[at] ^ a) | (entries6[at + 1] ^ b) | (entries6[at + 2] ^ c) | (entries6[at + 3] ^ d);
      if ((other | (entries6[at + 4] ^ key)) === 0) return entries6[at + 5];
      const service = search6(words, view, addressAt, protocol, port);
      if (service >= 0) {
        entries6[at] = a;
        entries6[at + 1] = b;
        entries6[at + 2] = c;
        entries6[at + 3] = d;
        entries6[at + 4] = key;
        entries6[at + 5] = service;
        entries6[at + 6] = isPlain(words, protocol, port) ? service : -1;
      }
      return service;
    },

    forget() {
      entries4.fill(0);
      entries6.fill(0);
    },
  };
}
