// Packets for the driver contract, built by the reference checksum and plain arithmetic, not by the code under test.

/** RFC 1071 over bytes, as people would write it. */
export function internetChecksum(...parts: Uint8Array[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (i + 1 < bytes.length ? bytes[i + 1] : 0);
  while (sum > 0xffff) sum = (sum >>> 16) + (sum & 0xffff);
  return ~sum & 0xffff;
}

export interface HeaderFields {
  readonly family: 4 | 6;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly trafficClass?: number;
  readonly ttl?: number;
  readonly identification?: number;
  /** IPv6 alone. */
  readonly flowLabel?: number;
}

/** An IP packet around `body`. */
export function ipPacket(fields: HeaderFields, protocol: number, body: Uint8Array): Buffer {
  const { family, source, destination, trafficClass = 0, ttl = 64, identification = 0, flowLabel = 0 } = fields;
  if (family === 6) {
    const header = Buffer.alloc(40);
    header.writeUInt32BE(((6 << 28) | (trafficClass << 20) | flowLabel) >>> 0, 0);
    header.writeUInt16BE(body.length, 4);
    header[6] = protocol;
    header[7] = ttl;
    header.set(source, 8);
    header.set(destination, 24);
    return Buffer.concat([header, body]);
  }
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header[1] = trafficClass;
  header.writeUInt16BE(20 + body.length, 2);
  header.writeUInt16BE(identification, 4);
  header.writeUInt16BE(0x4000, 6);
  header[8] = ttl;
  header[9] = protocol;
  header.set(source, 12);
  header.set(destination, 16);
  header.writeUInt16BE(internetChecksum(header), 10);
  return Buffer.concat([header, body]);
}

/** A UDP datagram's bytes; checksum filled when the pseudo-header's addresses are given. */
export function udpBody(sourcePort: number, port: number, payload: Uint8Array, addresses: Uint8Array | null): Buffer {
  const body = Buffer.concat([Buffer.alloc(8), payload]);
  body.writeUInt16BE(sourcePort, 0);
  body.writeUInt16BE(port, 2);
  body.writeUInt16BE(body.length, 4);
  if (addresses !== null) {
    const pseudo = Buffer.from([0, 17, body.length >> 8, body.length & 0xff]);
    body.writeUInt16BE(internetChecksum(addresses, pseudo, body) || 0xffff, 6);
  }
  return body;
}

/** What the contract's clients send: IPv4, `size` bytes in all (20 or more), distinguishable by `number`. */
export function udpPacket(size: number, number: number): Uint8Array {
  const fields = {
    family: 4,
    source: Buffer.from([10, 1, 0, 1]),
    destination: Buffer.from([10, 9, 9, 9]),
    identification: number,
  } as const;
  if (size < 28) return ipPacket(fields, 17, Buffer.alloc(size - 20, number));
  return ipPacket(fields, 17, udpBody(4000, 4001, pattern(size - 28, number), null));
}

function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + seed * 7 + (i >> 8)) & 0xff;
  return bytes;
}

export interface OuterPacket {
  readonly bytes: Uint8Array;
  readonly family: 4 | 6;
  readonly transportAt: number;
  readonly sourcePort: number;
}

/** A GUE packet of `size` bytes in all: outer IP, UDP to port 6080, GUE variant 0, and something inside. */
export function outerPacket(fields: HeaderFields & { sourcePort: number; size: number; checksum: boolean }): OuterPacket {
  const transportAt = fields.family === 4 ? 20 : 40;
  const inside = pattern(fields.size - transportAt - 12, fields.size);
  const payload = Buffer.concat([Buffer.from([0, fields.family === 4 ? 4 : 41, 0, 0]), inside]);
  const addresses = fields.checksum ? Buffer.concat([fields.source, fields.destination]) : null;
  const body = udpBody(fields.sourcePort, 6080, payload, addresses);
  return { bytes: ipPacket(fields, 17, body), family: fields.family, transportAt, sourcePort: fields.sourcePort };
}
