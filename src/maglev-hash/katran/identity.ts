/**
 * Katran's hash of a backend's address, from which its ring is built: that of folly's IPAddress. IPv4: FNV-1 over the four bytes; IPv6:
 * SpookyHash V2 (Jenkins, public domain), 128 bits of 16 bytes; each combined with the number of the address family as Linux has it.
 * Used when a ring is built, never per packet: 64-bit integers are fine.
 */
import { MASK_64, turn64 } from './word64.ts';

const AF_INET = 2n;
const AF_INET6 = 10n;
/** CityHash's Hash128to64. */
const COMBINE = 0x9ddfea08eb382d69n;
const FNV_BASIS = 2166136261n;
const FNV_PRIME = 16777619n;
const SPOOKY = 0xdeadbeefdeadbeefn;
/** Rotations of SpookyHash's ShortMix and ShortEnd. */
const MIX = [50, 52, 30, 41, 54, 48, 38, 37, 62, 34, 5, 36];
const END = [15, 52, 26, 51, 28, 9, 47, 54, 32, 25, 63];

function combine(upper: bigint, lower: bigint): bigint {
  let a = ((lower ^ upper) * COMBINE) & MASK_64;
  a ^= a >> 47n;
  let b = ((upper ^ a) * COMBINE) & MASK_64;
  b ^= b >> 47n;
  return (b * COMBINE) & MASK_64;
}

/** Multiplies, then mixes the byte in, as a signed char: the older FNV-1. */
function fnv(bytes: Uint8Array): bigint {
  let hash = FNV_BASIS;
  for (const byte of bytes) {
    const signed = BigInt(byte < 128 ? byte : byte + 0xffffff00);
    hash = ((hash * FNV_PRIME) & 0xffffffffn) ^ signed;
  }
  return hash;
}

function spooky(low: bigint, high: bigint): [bigint, bigint] {
  const h = [0n, 0n, (SPOOKY + low) & MASK_64, (SPOOKY + high) & MASK_64];
  MIX.forEach((by, step) => {
    const at = (step + 2) & 3;
    h[at] = (turn64(h[at], by) + h[(at + 1) & 3]) & MASK_64;
    h[(at + 2) & 3] ^= h[at];
  });
  h[2] = (h[2] + SPOOKY) & MASK_64;
  h[3] = (h[3] + (16n << 56n) + SPOOKY) & MASK_64;
  END.forEach((by, step) => {
    const to = (step + 3) & 3;
    const from = (step + 2) & 3;
    h[to] ^= h[from];
    h[from] = turn64(h[from], by);
    h[to] = (h[to] + h[from]) & MASK_64;
  });
  return [h[0], h[1]];
}

/** Katran's 64-bit hash of an address of 4 or 16 bytes. Throws RangeError for any other length. */
export function katranIdentity(address: Uint8Array): bigint {
  if (address.length === 4) return combine(AF_INET, fnv(address));
  if (address.length !== 16) throw new RangeError(`an address has 4 or 16 bytes, not ${address.length}`);
  const view = new DataView(address.buffer, address.byteOffset, 16);
  const [first, second] = spooky(view.getBigUint64(0, true), view.getBigUint64(8, true));
  return combine(AF_INET6, combine(first, second));
}
