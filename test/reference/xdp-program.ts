// The slow twin of the XDP program: which frames are the services', said the plain way, from the list of services and the frame's bytes.

import { prefixContains } from '../../src/base/address.ts';
import type { ServiceMatch } from '../../src/io/packet/filter.ts';

const EXTENSIONS = [0, 43, 44, 51, 60, 135];

/** Type and first byte behind Ethernet and up to two VLAN tags; null when the frame ends before. */
function network(frame: Buffer): { type: number; at: number } | null {
  let at = 12;
  for (let tags = 0; ; tags++) {
    if (frame.length < at + 2) return null;
    const type = frame.readUInt16BE(at);
    if ((type !== 0x8100 && type !== 0x88a8) || tags === 2) return { type, at: at + 2 };
    at += 4;
  }
}

/** True when the frame is to go to the director, for an interface with that MAC address. */
export function isWanted(services: readonly ServiceMatch[], mac: Uint8Array, bytes: Uint8Array): boolean {
  const frame = Buffer.from(bytes);
  if (frame.length < 14 || !frame.subarray(0, 6).equals(mac)) return false;
  const found = network(frame);
  if (found === null) return false;
  const packet = frame.subarray(found.at);
  if (found.type === 0x0800) return packet.length >= 20 && packet[0] >> 4 === 4 && wants4(services, packet);
  if (found.type === 0x86dd) return packet.length >= 40 && packet[0] >> 4 === 6 && wants6(services, packet);
  return false;
}

function wants4(services: readonly ServiceMatch[], packet: Buffer): boolean {
  const here = services.filter(({ prefix }) => prefixContains(prefix, packet.subarray(16, 20)));
  if (here.length === 0) return false;
  const protocol = packet[9];
  if (protocol === 1 || (packet.readUInt16BE(6) & 0x1fff) !== 0) return true;
  const header = (packet[0] & 15) * 4;
  return header >= 20 && hasRule(here, protocol, packet.subarray(header));
}

function wants6(services: readonly ServiceMatch[], packet: Buffer): boolean {
  const here = services.filter(({ prefix }) => prefixContains(prefix, packet.subarray(24, 40)));
  if (here.length === 0) return false;
  const next = packet[6];
  if (EXTENSIONS.includes(next)) return true;
  // Neighbour discovery is the link's.
  if (next === 58) return packet.length > 40 && !(packet[40] >= 133 && packet[40] <= 137);
  return hasRule(here, next, packet.subarray(40));
}

function hasRule(services: readonly ServiceMatch[], protocol: number, transport: Buffer): boolean {
  const port = transport.length < 4 ? 0 : transport.readUInt16BE(2);
  return services.some((rule) => {
    // 256: any protocol, which has no ports.
    return rule.protocol === 256 || (rule.protocol === protocol && rule.portFrom <= port && port <= rule.portTo);
  });
}
