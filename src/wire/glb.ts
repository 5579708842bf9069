/**
 * GLB director's private data in a GUE header of variant 0 (github/glb-director, docs/development/gue-header.md): the backends to which a worker
 * passes on a packet of a connection that it does not have.
 *
 *      0                   1                   2                   3
 *     +---+-+---------+---------------+-------------------------------+
 *     | 0 |0| 1 + n   |  protocol     |            flags 0            |   GUE
 *     +---+-+---------+---------------+---------------+---------------+
 *     |        private type 0         |  next hop     |   hops n      |
 *     +-------------------------------+---------------+---------------+
 *     |                     IPv4 address of hop 0                     |   n times
 *     +---------------------------------------------------------------+
 *
 * Linux' own GUE skips what the header's length covers and no flag names; so workers without glb-redirect unwrap it too.
 */
import { HEADER_LENGTH } from './gue.ts';

/** Bytes of the private data without addresses. */
export const PRIVATE_LENGTH = 4;
export const ADDRESS_LENGTH = 4;
export const TYPE_AT = HEADER_LENGTH;
export const NEXT_HOP_AT = HEADER_LENGTH + 2;
export const HOP_COUNT_AT = HEADER_LENGTH + 3;
export const HOPS_AT = HEADER_LENGTH + PRIVATE_LENGTH;

/** Bytes that `hops` addresses add to the GUE header. */
export function extraLength(hops: number): number {
  return PRIVATE_LENGTH + hops * ADDRESS_LENGTH;
}

/** Makes the GUE header at `at`, which is written, one with private data for `hops` addresses; these are set one by one. */
export function write(view: DataView, at: number, hops: number): void {
  view.setUint8(at, extraLength(hops) >> 2);
  view.setInt32(at + TYPE_AT, hops);
}

/** `address`: the four bytes as an int32 read little-endian, as they lie in a header template. */
export function setHop(view: DataView, at: number, hop: number, address: number): void {
  view.setInt32(at + HOPS_AT + hop * ADDRESS_LENGTH, address, true);
}

export function hopCount(view: DataView, at: number): number {
  return view.getUint8(at + HOP_COUNT_AT);
}
