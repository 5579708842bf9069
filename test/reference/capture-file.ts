// Writes a classic pcap file of IP packets for the tools that judge us; independent of src/wire/pcap.

import { writeFileSync } from 'node:fs';

const LINKTYPE_ETHERNET = 1;
const ETHERNET = 14;

/**
 * Each packet gets an Ethernet header of zero addresses: with the raw-IP link type tshark guesses the protocol from the first bytes,
 * and sometimes guesses PPP.
 */
export function writeCapture(path: string, packets: readonly Uint8Array[]): void {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(262144, 16);
  header.writeUInt32LE(LINKTYPE_ETHERNET, 20);
  const parts: Uint8Array[] = [header];
  packets.forEach((packet, index) => {
    const record = Buffer.alloc(16 + ETHERNET);
    record.writeUInt32LE(Math.floor(index / 1000), 0);
    record.writeUInt32LE((index % 1000) * 1000, 4);
    record.writeUInt32LE(packet.length + ETHERNET, 8);
    record.writeUInt32LE(packet.length + ETHERNET, 12);
    record.writeUInt16BE(packet[0] >> 4 === 4 ? 0x0800 : 0x86dd, 16 + 12);
    parts.push(record, packet);
  });
  writeFileSync(path, Buffer.concat(parts));
}
