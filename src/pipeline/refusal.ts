/** The drop reason that each refusal to segment means (train.ts). A table, because a refused packet is asked about on the packet path. */
import { dropReason } from '../base/drop-reason.ts';
import * as train from './train.ts';

const BAD_VIRTIO_HEADER = dropReason('bad-virtio-header');

const REASONS = new Uint8Array(16).fill(BAD_VIRTIO_HEADER);
REASONS[-train.REFUSED_COUNT] = dropReason('super-packet');
REASONS[-train.REFUSED_ROOM] = dropReason('super-packet');
REASONS[-train.REFUSED_CHECKSUM] = dropReason('super-packet-checksum');
REASONS[-train.REFUSED_FRAGMENT] = dropReason('fragment');
REASONS[-train.REFUSED_EXTENSION] = dropReason('ipv6-extension');

/** Drop reason of a negative answer of `segmentTcp`, `segmentUdp` or `checkSuperPacket`. */
export function refusalReason(refusal: number): number {
  return REASONS[-refusal & 15];
}
