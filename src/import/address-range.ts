/** Ranges of addresses as prefixes: what keepalived writes as `192.0.2.3-10`, a configuration says as a few prefixes. */
import type { Prefix } from '../base/address.ts';

/** The fewest prefixes that hold `first` to `last` (of one length) and nothing else, in their order; none when `last` is below `first`. */
export function prefixesOfRange(first: Uint8Array, last: Uint8Array): Prefix[] {
  const bits = first.length * 8;
  const end = toNumber(last);
  const list: Prefix[] = [];
  for (let at = toNumber(first); at <= end; ) {
    let free = 0;
    // One bit more: still aligned, and still inside.
    while (free < bits && (at & ((2n << BigInt(free)) - 1n)) === 0n && at + (2n << BigInt(free)) - 1n <= end) free++;
    list.push({ bytes: toBytes(at, first.length), length: bits - free });
    at += 1n << BigInt(free);
  }
  return list;
}

function toNumber(bytes: Uint8Array): bigint {
  return bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function toBytes(value: bigint, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Number((value >> BigInt(8 * (length - 1 - i))) & 0xffn));
}
