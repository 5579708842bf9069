/**
 * Katran's packet hash: client address and the two ports, nothing of the VIP, so that a client's flows to two VIPs with the same backends
 * share a slot. int32 in and out, no allocation.
 */
import { jenkinsWords2, jenkinsWords4 } from '../jenkins.ts';

/** MAX_VIPS as Katran is built: a Katran with another number hashes otherwise. */
export const KATRAN_MAX_VIPS = 512;
const ADDRESS_SEED = KATRAN_MAX_VIPS;
const PORTS_SEED = KATRAN_MAX_VIPS * 65537;

/** Seed of the hash of the ports (Katran's CH_RINGS_SIZE), int32: for a Katran built with other numbers. Of the address it is `maxVips` itself. */
export function katranPortsSeed(maxVips: number, ringSize: number): number {
  return Math.imul(maxVips, ringSize);
}

/**
 * `source`: the client's IPv4 address, `ports`: source and destination port as they lie in the packet (source port first), each as the
 * int32 of a little-endian load.
 */
export function katranHash4(source: number, ports: number, portsSeed = PORTS_SEED): number {
  return jenkinsWords2(source, ports, portsSeed);
}

/** The same for IPv6: the client's address lies at `sourceAt` in `view`. */
export function katranHash6(
  view: DataView,
  sourceAt: number,
  ports: number,
  addressSeed = ADDRESS_SEED,
  portsSeed = PORTS_SEED,
): number {
  const folded = jenkinsWords4(
    view.getInt32(sourceAt, true),
    view.getInt32(sourceAt + 4, true),
    view.getInt32(sourceAt + 8, true),
    view.getInt32(sourceAt + 12, true),
    addressSeed,
  );
  return jenkinsWords2(folded, ports, portsSeed);
}

/** Slot of a hash in a ring of `size` slots. */
export function katranSlot(hash: number, size: number): number {
  return (hash >>> 0) % size;
}
