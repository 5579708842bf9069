// IPv4 fragmentation as RFC 791 §3.2 tells its example procedure, whole packets at a time: the slow twin of src/pipeline/fragment4.ts.
// Shares nothing with it.

import { naiveChecksum } from './checksum.ts';

function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = Math.floor(value / 256) % 256;
  bytes[at + 1] = value % 256;
}

/** The options of a later fragment: those without the copied flag are no-operation (type 1), byte by byte. */
function laterOptions(options: Uint8Array): Uint8Array {
  const kept = options.slice();
  let at = 0;
  while (at < kept.length && kept[at] !== 0) {
    if (kept[at] === 1) at += 1;
    else {
      const length = kept[at + 1] ?? 0;
      if (length < 2 || at + length > kept.length) break;
      if (kept[at] < 128) kept.fill(1, at, at + length);
      at += length;
    }
  }
  return kept;
}

/** Every fragment of an IPv4 packet without DF. `identifier` replaces an identification of 0 in a whole packet. */
export function fragmentSlowly(packet: Uint8Array, innerMtu: number, identifier: number): Uint8Array[] {
  if (packet.length <= innerMtu) return [packet.slice()];
  const headerLength = (packet[0] % 16) * 4;
  const flags = packet[6] * 256 + packet[7];
  const firstOffset = flags % 8192;
  const lastHasMore = Math.floor(flags / 8192) % 2;
  const fragments: Uint8Array[] = [];
  let rest = packet.slice(headerLength);
  let offset = firstOffset;
  while (rest.length > 0) {
    const fits = rest.length <= innerMtu - headerLength;
    const blocks = Math.floor((innerMtu - headerLength) / 8);
    const payload = fits ? rest : rest.subarray(0, blocks * 8);
    const fragment = new Uint8Array(headerLength + payload.length);
    fragment.set(packet.slice(0, headerLength));
    fragment.set(payload, headerLength);
    if (firstOffset === 0 && offset > 0) fragment.set(laterOptions(packet.slice(20, headerLength)), 20);
    setWord(fragment, 2, fragment.length);
    if (packet[4] === 0 && packet[5] === 0 && firstOffset === 0 && lastHasMore === 0) setWord(fragment, 4, identifier);
    setWord(fragment, 6, (fits ? lastHasMore : 1) * 8192 + offset);
    setWord(fragment, 10, 0);
    setWord(fragment, 10, naiveChecksum(fragment, 0, headerLength));
    fragments.push(fragment);
    rest = rest.subarray(payload.length);
    offset += blocks;
  }
  return fragments;
}
