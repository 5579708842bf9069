/** One packet of a ring becomes a column of the batch, where it lies. */
import { HEADROOM } from '../../base/arena.ts';
import type { Batch } from '../../base/batch.ts';
import { RING_VLAN_TPID_VALID, RING_VLAN_VALID } from '../../raw-socket/packet-ring.ts';
import { PACKET_VNET_HEADER } from '../../raw-socket/packet-socket.ts';
import { clearFrame, markTruncated } from '../frame.ts';
import { readVirtioHeader } from '../virtio-header.ts';
import { ETHERTYPE_VLAN, restoreTag, VLAN_TAG } from './vlan-tag.ts';

const ROOM = HEADROOM;
const VIRTIO = PACKET_VNET_HEADER;
/** Destination, source, type: a tag goes between them. */
const ETHERNET = 14;
const TAGGED = RING_VLAN_VALID;
const TAG_KIND_KNOWN = RING_VLAN_TPID_VALID;

/** True when an Ethernet frame of `captured` bytes at `mac`, with its headroom and virtio-net header, lies between `from` and `end`: offsets in the arena. */
export function liesWithin(mac: number, captured: number, from: number, end: number): boolean {
  return (mac & 1) === 0 && mac - ROOM >= from && captured >= ETHERNET && mac <= end && captured <= end - mac;
}

/**
 * Column `i` gets the frame of `captured` bytes at `mac`, of which `liesWithin` is true; `length` is the packet's own. `halves` is the arena as 16-bit words.
 * `status`, `tci` and `tpid`: what the ring says of a VLAN tag.
 */
export function placeInRing(
  batch: Batch,
  i: number,
  mac: number,
  captured: number,
  length: number,
  halves: Uint16Array,
  status: number,
  tci: number,
  tpid: number,
): void {
  batch.slotAt[i] = mac - ROOM;
  clearFrame(batch, i);
  batch.frameLength[i] = captured;
  const room = batch.frameCapacity;
  // A length of 2 GiB or more is one below zero here.
  if (captured > room || captured < length || length < 0) {
    if (captured > room) batch.frameLength[i] = room;
    markTruncated(batch, i);
  }
  const tagged = (status & TAGGED) !== 0;
  // Before the tag, which takes the place of the header's end.
  readVirtioHeader(batch, i, halves, (mac - VIRTIO) >> 1, tagged ? VLAN_TAG : 0);
  if (tagged) restoreTag(batch, i, tci, (status & TAG_KIND_KNOWN) === 0 ? ETHERTYPE_VLAN : tpid);
}
