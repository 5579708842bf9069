/** The outer VLAN tag, which the kernel takes out of a frame and reports beside it. */
import type { Batch } from '../../base/batch.ts';

export const VLAN_TAG = 4;
/** Destination and source MAC address: the tag goes behind them. */
const MAC_PAIR = 12;
/** For kernels that do not say which kind of tag it was. */
export const ETHERTYPE_VLAN = 0x8100;

/**
 * Puts the tag back, so that the frame is what was on the wire and a reply goes out on the same VLAN. Returns by how many bytes the frame now begins
 * earlier.
 *
 *     before:        | MACs 12 | type | …        frameAt = slot + 128
 *     after:   | MACs 12 | tag 4 | type | …      frameAt = slot + 124
 */
export function restoreTag(batch: Batch, i: number, tci: number, tpid: number): number {
  const at = batch.frameAt[i];
  const { bytes, view } = batch.arena;
  bytes.copyWithin(at - VLAN_TAG, at, at + MAC_PAIR);
  view.setUint16(at - VLAN_TAG + MAC_PAIR, tpid, false);
  view.setUint16(at - VLAN_TAG + MAC_PAIR + 2, tci, false);
  batch.frameAt[i] = at - VLAN_TAG;
  batch.frameLength[i] += VLAN_TAG;
  return VLAN_TAG;
}
