/**
 * Flow hashes: what a packet's slot is chosen by. Deterministic and the same on every director, now and after an upgrade;
 * not keyed (the flow table has its own keyed fingerprint in half-siphash.ts). int32 in, int32 out, no allocation: this is
 * per-packet code.
 *
 * Addresses of 4 bytes and the ports word are int32 as read big-endian from the packet:
 *
 *      0                   1                   2                   3
 *     +-------------------------------+-------------------------------+
 *     |          source port          |        destination port       |   ports
 *     +-------------------------------+-------------------------------+
 *
 * Each word enters by a bijection, so two flows that differ in a single word (one client's ports, one port's clients) never
 * have the same hash.
 */
import * as mix from './mix.ts';

// Module-local: what is imported is compared with its module's at every call.
const absorb = mix.absorb;
const mix32 = mix.mix32;
const TWO_32 = mix.TWO_32;

const START = 0xa4093822 | 0;
/** Start of the second lane of the 16-byte forms, which keeps source and destination in separate chains for speed. */
const START_DESTINATION = 0x299f31d0 | 0;
/** Spreads the protocol number over 32 bits, so that it can share the word of the ports. */
const PROTOCOL = 0x082efa99 | 0;

/** Hash of an IPv4 5-tuple. */
export function hashTuple4(source: number, destination: number, ports: number, protocol: number): number {
  let h = absorb(START ^ Math.imul(protocol, PROTOCOL), source);
  h = absorb(h, destination);
  return mix32(absorb(h, ports));
}

/** Hash of an IPv4 3-tuple: both addresses and the protocol; equal to `hashTuple4` with ports 0. */
export function hashAddresses4(source: number, destination: number, protocol: number): number {
  return hashTuple4(source, destination, 0, protocol);
}

/** Hash of an IPv4 source address alone; equal to `hashTuple4` with everything else 0. */
export function hashSource4(source: number): number {
  return hashTuple4(source, 0, 0, 0);
}

/** Hash of an IPv6 5-tuple: 16 bytes at `sourceAt` and 16 at `destinationAt` of `view` (offsets in bytes). */
export function hashTuple6(view: DataView, sourceAt: number, destinationAt: number, ports: number, protocol: number): number {
  let s = absorb(START ^ Math.imul(protocol, PROTOCOL), view.getInt32(sourceAt));
  let d = absorb(START_DESTINATION, view.getInt32(destinationAt));
  s = absorb(s, view.getInt32(sourceAt + 4));
  d = absorb(d, view.getInt32(destinationAt + 4));
  s = absorb(s, view.getInt32(sourceAt + 8));
  d = absorb(d, view.getInt32(destinationAt + 8));
  s = absorb(s, view.getInt32(sourceAt + 12));
  d = absorb(d, view.getInt32(destinationAt + 12));
  // Multiplied once more: the two chains are alike, and sources that move in step with destinations would leave a pattern.
  return mix32(absorb(absorb(s, Math.imul(d, 0x7feb352d)), ports));
}

/** Hash of an IPv6 3-tuple; equal to `hashTuple6` with ports 0. */
export function hashAddresses6(view: DataView, sourceAt: number, destinationAt: number, protocol: number): number {
  return hashTuple6(view, sourceAt, destinationAt, 0, protocol);
}

/** Hash of an IPv6 source address alone (16 bytes at `sourceAt`). */
export function hashSource6(view: DataView, sourceAt: number): number {
  let s = absorb(START, view.getInt32(sourceAt));
  s = absorb(s, view.getInt32(sourceAt + 4));
  s = absorb(s, view.getInt32(sourceAt + 8));
  return mix32(absorb(s, view.getInt32(sourceAt + 12)));
}

/**
 * Slot of a flow in a table of `size` slots, 0 to size − 1. The pool's seed is mixed in again, so that two pools with
 * different seeds choose independently, and so that a slot says nothing about the low bits of the hash (which pick the outer
 * source port). Multiply-and-shift in exact doubles: a slot's probability differs from 1 / size by less than size / 2^32
 * of itself (0.0015 % at 65,537 slots).
 */
export function slotOf(hash: number, seed: number, size: number): number {
  return (((mix32(hash ^ seed) >>> 0) * size) / TWO_32) | 0;
}
