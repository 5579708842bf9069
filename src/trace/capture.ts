/**
 * Traced packets as pcapng: two interfaces, `before` (the client's packet as it came) and `after` (every packet that left), each packet with a comment. Wireshark shows the
 * comments; both interfaces begin with an IP header.
 */
import { LINKTYPE_RAW } from '../wire/pcap.ts';
import {
  namedInterfaceLength,
  PCAPNG_SECTION_LENGTH,
  packetBlockLength,
  writeNamedInterface,
  writePacket,
  writeSection,
} from '../wire/pcapng.ts';
import { bytesOfHex, type TracedPacket } from './told.ts';
import { leftText, verdictText } from './words.ts';

const BEFORE = 0;
const AFTER = 1;

const encoder = new TextEncoder();

/** What a capture begins with. */
export function captureHeader(): Uint8Array {
  const names = ['before', 'after'].map((name) => encoder.encode(name));
  const out = new Uint8Array(PCAPNG_SECTION_LENGTH + names.reduce((sum, name) => sum + namedInterfaceLength(name.length), 0));
  writeSection(new DataView(out.buffer), 0);
  let at = PCAPNG_SECTION_LENGTH;
  for (const name of names) at += writeNamedInterface(out, at, LINKTYPE_RAW, name);
  return out;
}

/** The records of one traced packet: itself, and what left for it. A frame without an IP packet has none. */
export function captureRecords(packet: TracedPacket): Uint8Array {
  if (packet.ip === false) return new Uint8Array(0);
  const seconds = Math.floor(Date.parse(packet.time) / 1000);
  const nanoseconds = Number(packet.time.slice(-7, -1)) * 1000;
  const left = leftText(packet);
  const merged = packet.mergedFrom === undefined ? '' : `; merged from packets of ${packet.mergedFrom} bytes of payload`;
  const records = [
    {
      on: BEFORE,
      bytes: bytesOfHex(packet.bytes),
      length: packet.length,
      comment: `#${packet.packet} ${verdictText(packet)}${left === null ? '' : `; ${left}`}${merged}`,
    },
    ...packet.left.map(({ by, length, bytes, cutInto }, k) => ({
      on: AFTER,
      bytes: bytesOfHex(bytes),
      length,
      comment: [
        `#${packet.packet}, ${k + 1} of ${packet.left.length}: `,
        by === 'ingress'
          ? 'the answer to its sender'
          : `to ${packet.pool}/${packet.backend} (${packet.address}) for service ${packet.service}`,
        cutInto === undefined ? '' : `; the kernel cuts it into ${cutInto.length} packets of at most ${cutInto[0]} bytes`,
      ].join(''),
    })),
  ].map((record) => ({ ...record, text: encoder.encode(record.comment) }));
  const out = new Uint8Array(records.reduce((sum, { bytes, text }) => sum + packetBlockLength(bytes.length, text.length), 0));
  let at = 0;
  for (const { on, bytes, length, text } of records) at += writePacket(out, at, on, seconds, nanoseconds, bytes, length, text);
  return out;
}
