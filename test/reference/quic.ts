// The server id in a QUIC packet, taken apart bit by bit: the slow twin of src/pipeline/connection-id.ts and src/wire/quic.ts. Shares nothing with
// them. Written from RFC 8999 §5, RFC 9000 §17, RFC 9369 §3.2, draft-ietf-quic-load-balancers-21 §3 and §5, and what Katran's documentation of its
// connection ids says.

export type SlowScheme = { readonly rotations: readonly number[]; readonly serverIdLength: number } | 'katran';

/** Bits of `bytes` from `from` on, as a number of any size. */
function bits(bytes: readonly number[], from: number, count: number): bigint {
  const text = bytes.map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return BigInt(`0b${text.slice(from, from + count)}`);
}

/** The bytes that may be the destination connection id; null when the packet can not be read, or its client may have made the id up. */
function connectionId(packet: readonly number[], isKatran: boolean): readonly number[] | null {
  if (packet.length === 0) return null;
  if (packet[0] < 128) return packet.slice(1);
  // A long header.
  if (packet.length < 6) return null;
  const version = Number(bits(packet, 8, 32));
  const type = Number(bits(packet, 2, 2));
  const names = version === 0x6b3343cf ? ['retry', 'initial', '0-rtt', 'handshake'] : ['initial', '0-rtt', 'handshake', 'retry'];
  if (names[type] === 'initial' || names[type] === '0-rtt') return null;
  if (version === 0 && !isKatran) return null;
  const id = packet.slice(6, 6 + packet[5]);
  return id.length === packet[5] ? id : null;
}

/** The server id in the UDP payload `packet`, null when it has none. */
export function serverIdSlowly(packet: Uint8Array, scheme: SlowScheme): bigint | null {
  const id = connectionId([...packet], scheme === 'katran');
  if (id === null) return null;
  if (scheme === 'katran') {
    if (id.length < 8) return null;
    const places: Record<string, [number, number]> = { 1: [2, 16], 2: [8, 24], 3: [8, 32] };
    const place = places[String(bits(id, 0, 2))];
    const value = place === undefined ? 0n : bits(id, ...place);
    return value === 0n ? null : value;
  }
  if (id.length < 1 + scheme.serverIdLength + 4) return null;
  if (!scheme.rotations.includes(Number(bits(id, 0, 3)))) return null;
  return bits(id, 8, 8 * scheme.serverIdLength);
}
