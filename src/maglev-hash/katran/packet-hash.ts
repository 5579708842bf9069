/**
 * Katran's packet hash: client address and the two ports, nothing of the VIP, so that a client's flows to two VIPs with the same backends
 * share a slot. int32 in and out, no allocation.
 */
import { jenkinsWords2, jenkinsWords4 } from '../jenkins.ts';

/** MAX_VIPS as Katran is built: a Katran with another number hashes otherwise. */
const ADDRESS_SEED = 512;
const PORTS_SEED = 512 * 65537;

/**
 * `source`: the client's IPv4 address, `ports`: source and destination port as they lie in the packet (source port first), each as the
 * int32 of a little-endian load.
 */
export function katranHash4(source: number, ports: number): number {
  return jenkinsWords2(source, ports, PORTS_SEED);
}

/** The same for IPv6: the client's address lies at `sourceAt` in `view`. */
export function katranHash6(view: DataView, sourceAt: number, ports: number): number {
  const folded = jenkinsWords4(
    view.getInt32(sourceAt, true),
    view.getInt32(sourceAt + 4, true),
    view.getInt32(sourceAt + 8, true),
    view.getInt32(sourceAt + 12, true),
    ADDRESS_SEED,
  );
  return jenkinsWords2(folded, ports, PORTS_SEED);
}

/** Slot of a hash in a ring of `size` slots. */
export function katranSlot(hash: number, size: number): number {
  return (hash >>> 0) % size;
}
