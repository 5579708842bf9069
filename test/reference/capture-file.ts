// Writes a classic pcap file of raw IP packets for the tools that judge us; independent of src/wire/pcap.

import { writeFileSync } from 'node:fs';

const LINKTYPE_RAW = 101;

export function writeCapture(path: string, packets: readonly Uint8Array[]): void {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(262144, 16);
  header.writeUInt32LE(LINKTYPE_RAW, 20);
  const parts: Uint8Array[] = [header];
  packets.forEach((packet, index) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(Math.floor(index / 1000), 0);
    record.writeUInt32LE((index % 1000) * 1000, 4);
    record.writeUInt32LE(packet.length, 8);
    record.writeUInt32LE(packet.length, 12);
    parts.push(record, packet);
  });
  writeFileSync(path, Buffer.concat(parts));
}
