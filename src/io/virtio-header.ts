/**
 * The virtio-net header that the kernel puts in front of a packet: which of its checksums and segments are still to be made.
 * (virtio specification 1.2, §5.1.6; linux/virtio_net.h; in the byte order of the machine)
 *
 *      0       1          2             4          6            8              10
 *     | flags | gso type | header length | gso size | csum start | csum offset | buffers |
 */
import type { Batch } from '../base/batch.ts';

/** Copies the header at 16-bit word `at` of `words` into the batch's columns. `shift`: bytes put in front of the packet since. */
export function readVirtioHeader(batch: Batch, i: number, words: Uint16Array, at: number, shift: number): void {
  const first = words[at];
  batch.virtioFlags[i] = first & 0xff;
  batch.gsoType[i] = first >> 8;
  batch.headerLength[i] = words[at + 1];
  batch.gsoSize[i] = words[at + 2];
  batch.csumStart[i] = words[at + 3] + shift;
  batch.csumOffset[i] = words[at + 4];
}
