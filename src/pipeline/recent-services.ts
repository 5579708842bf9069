/**
 * The services that packets were last for: a small direct-mapped cache in front of the service index, since traffic has few
 * destinations at a time. Keys are compared whole, so it answers as the index does, only sooner (IPv4 2 ns and not 9). Nothing but
 * found services is remembered, and all is forgotten when the snapshot changes.
 *
 *     IPv4 (4 words):  | address     | protocol, port | service | 0     |
 *     IPv6 (8 words):  | address × 4 | protocol, port | service | 0 | 0 |
 */
import { findService4, findService6 } from './service-index.ts';

const ENTRIES = 256;
const TO_ENTRY = 24;
const WORDS4 = 2;
const WORDS6 = 3;
const MULTIPLIER = 0x9e3779b1 | 0;

// Module-local: an imported function is compared with its module's at every call.
const search4 = findService4;
const search6 = findService6;

export interface RecentServices {
  /** As `findService4` and `findService6`, for TCP and UDP. */
  readonly find4: (words: Int32Array, address: number, protocol: number, port: number) => number;
  readonly find6: (words: Int32Array, view: DataView, at: number, protocol: number, port: number) => number;
  /** To be called when `words` are another snapshot's. */
  readonly forget: () => void;
}

export function recentServices(): RecentServices {
  const entries4 = new Int32Array(ENTRIES << WORDS4);
  const entries6 = new Int32Array(ENTRIES << WORDS6);

  return {
    find4(words, address, protocol, port) {
      const key = (protocol << 16) | port;
      const at = (Math.imul(address ^ key, MULTIPLIER) >>> TO_ENTRY) << WORDS4;
      if (entries4[at] === address && entries4[at + 1] === key) return entries4[at + 2];
      const service = search4(words, address, protocol, port);
      if (service >= 0) {
        entries4[at] = address;
        entries4[at + 1] = key;
        entries4[at + 2] = service;
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
      }
      return service;
    },

    forget() {
      entries4.fill(0);
      entries6.fill(0);
    },
  };
}
