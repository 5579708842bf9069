/**
 * The hash of Linux's IPVS scheduler `mh` (net/netfilter/ipvs/ip_vs_mh.c): hsiphash, on 64-bit kernels SipHash-1-3, of one 32-bit sum of
 * address, port and offset, under two keys that are constants of the kernel. int32 in and out.
 */
import { sipHash } from '../siphash.ts';

/** generate_hash_secret(): each key is one number twice, as 64 bits. */
const FIRST = Int32Array.of(2654435761 | 0, 0, 2654435761 | 0, 0);
const SECOND = Int32Array.of(2654446892 | 0, 0, 2654446892 | 0, 0);
const message = new Int32Array(new ArrayBuffer(8));
const out = new Int32Array(new ArrayBuffer(8));

/** Which of the two keys. */
export const IPVS_OFFSET_KEY = 0;
export const IPVS_SKIP_KEY = 1;

/**
 * ip_vs_mh_hashkey(). `address`: an IPv4 address as int32, first byte highest, or the XOR of an IPv6 address's four words (`foldAddress6`).
 * `port`: 0 where ports do not count. Unsigned below 2^32 as int32.
 */
export function ipvsHash(
  address: number,
  port: number,
  offset: number,
  key: typeof IPVS_OFFSET_KEY | typeof IPVS_SKIP_KEY,
): number {
  message[0] = (offset + port + address) | 0;
  sipHash(key === IPVS_OFFSET_KEY ? FIRST : SECOND, message, 4, 1, 3, out);
  return out[0];
}

/** The four big-endian words of the IPv6 address at `at`, XORed. */
export function foldAddress6(view: DataView, at: number): number {
  return view.getInt32(at) ^ view.getInt32(at + 4) ^ view.getInt32(at + 8) ^ view.getInt32(at + 12);
}
