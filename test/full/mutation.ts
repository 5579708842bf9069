// Damage to packets, as both fuzzers do it.

import { naiveChecksum } from '../reference/checksum.ts';
import type { Random } from './random.ts';

/** Damages a byte or a few from `at` on, the length as it was; one time in five a field in front instead. */
export function damage(random: Random, bytes: Uint8Array, at: number): void {
  switch (random.below(5)) {
    case 0:
      bytes[at] ^= 1 << random.below(8);
      break;
    case 1:
      bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff]);
      break;
    case 2:
      random.fill(bytes.subarray(at, at + random.below(8)));
      break;
    case 3:
      bytes.copyWithin(at, random.below(bytes.length));
      break;
    default:
      // Lengths and next-header fields are where parsers break.
      if (bytes.length > 9) bytes[random.pick([0, 2, 3, 4, 5, 6, 9])] = random.below(256);
  }
}

/** Damages bytes where they lie in one to four places. */
export function bend(random: Random, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  for (let left = 1 + random.below(4); left > 0; left--) damage(random, bytes, random.below(bytes.length));
}

/** The IPv4 header checksum of a packet made right, where there is a whole header; all else stays as it is. */
export function repairHeader(packet: Uint8Array): void {
  const header = packet.length === 0 ? 0 : (packet[0] & 15) * 4;
  if (packet[0] >> 4 !== 4 || header < 20 || header > packet.length) return;
  packet.fill(0, 10, 12);
  const checksum = naiveChecksum(packet, 0, header);
  packet.set([checksum >> 8, checksum & 255], 10);
}
