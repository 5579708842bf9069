// IPv6 fragmentation at the source as RFC 8200 §4.5 tells it, whole packets at a time: the slow twin of src/pipeline/fragment6.ts. Shares
// nothing with it. For packets whose only header in front of the transport is IPv6's own.

/** Every fragment of an IPv6 packet, none longer than `mtu`; the packet itself when it fits. */
export function fragmentSlowly6(packet: Uint8Array, mtu: number, identifier: number): Uint8Array[] {
  if (packet.length <= mtu) return [packet.slice()];
  const fragments: Uint8Array[] = [];
  for (let offset = 0; offset < packet.length - 40; ) {
    const left = packet.length - 40 - offset;
    const isLast = left <= mtu - 48;
    const length = isLast ? left : Math.floor((mtu - 48) / 8) * 8;
    const fragment = new Uint8Array(48 + length);
    fragment.set(packet.slice(0, 40));
    fragment[4] = Math.floor((8 + length) / 256);
    fragment[5] = (8 + length) % 256;
    fragment[6] = 44;
    fragment[40] = packet[6];
    // 13 bits of offset in units of 8 bytes, two reserved, one that says that more follow.
    const field = (offset / 8) * 8 + (isLast ? 0 : 1);
    fragment[42] = Math.floor(field / 256);
    fragment[43] = field % 256;
    [24, 16, 8, 0].forEach((shift, n) => {
      fragment[44 + n] = (identifier >>> shift) % 256;
    });
    fragment.set(packet.slice(40 + offset, 40 + offset + length), 48);
    fragments.push(fragment);
    offset += length;
  }
  return fragments;
}
