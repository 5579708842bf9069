// Merging as its purpose says it: a segment joins a train when cutting the super-packet (segmentSlowly) gives back every segment, byte for
// byte. The slow twin of src/worker/coalesce.ts; whole packets, tried out one by one. Shares nothing with it.

import { fillPartialChecksum, segmentSlowly } from './segment.ts';

export interface Limits {
  readonly trains: number;
  readonly segments: number;
  readonly bytes: number;
}

export interface Merged {
  /** A packet as it came, or a super-packet with a partial checksum. */
  readonly bytes: Uint8Array;
  /** Payload bytes per segment; 0: as it came. */
  readonly segmentSize: number;
  /** What was merged, or the one packet. */
  readonly parts: readonly Uint8Array[];
}

interface Train {
  readonly flow: string;
  readonly parts: Uint8Array[];
  open: boolean;
}

const same = (a: Uint8Array, b: Uint8Array) => a.length === b.length && a.every((byte, at) => byte === b[at]);

/** Offset of the TCP header when the flow can be read off, −1 when the packet is no TCP, −2 when nobody can say. */
function tcpAt(packet: Uint8Array): number {
  const [header, protocol] = packet[0] >> 4 === 4 ? [20, packet[9]] : [40, packet[6]];
  if (header === 40 && protocol !== 6) return protocol === 17 || protocol === 58 ? -1 : -2;
  if (protocol !== 6) return -1;
  const isFragment = header === 20 && ((packet[6] & 0x3f) !== 0 || packet[7] !== 0);
  return (header === 20 && packet[0] !== 0x45) || isFragment || packet.length < header + 20 ? -2 : header;
}

function flowOf(packet: Uint8Array, at: number): string {
  return `${packet.slice(at === 20 ? 12 : 8, at === 20 ? 20 : 40)} ${packet.slice(at, at + 4)}`;
}

/** Data, ACK, and nothing else but PSH, FIN, ECE. */
function mayMerge(packet: Uint8Array, at: number): boolean {
  const flags = packet[at + 13];
  if ((flags & 0x10) === 0 || (flags & 0xa6) !== 0) return false;
  const header = (packet[at + 12] >> 4) * 4;
  return header >= 20 && at + header < packet.length && (at === 40 || (packet[6] & 0x80) === 0);
}

const payloadLength = (packet: Uint8Array, at: number) => packet.length - at - (packet[at + 12] >> 4) * 4;
const isLast = (packet: Uint8Array, at: number) => (packet[at + 13] & 0x09) !== 0;

/** One packet of all the payloads, with the first one's headers and the last one's FIN and PSH. */
function merge(parts: readonly Uint8Array[], at: number): Uint8Array {
  const bytes = Uint8Array.from([
    ...parts[0],
    ...parts.slice(1).flatMap((part) => [...part.slice(part.length - payloadLength(part, at))]),
  ]);
  const length = at === 20 ? bytes.length : bytes.length - 40;
  const field = at === 20 ? 2 : 4;
  bytes[field] = Math.floor(length / 256);
  bytes[field + 1] = length % 256;
  bytes[at + 13] |= (parts[parts.length - 1] as Uint8Array)[at + 13] & 0x09;
  if (at === 20) fillHeaderChecksum(bytes);
  fillPartialChecksum(bytes);
  return bytes;
}

function fillHeaderChecksum(packet: Uint8Array): void {
  let sum = 0;
  for (let k = 0; k < 20; k += 2) if (k !== 10) sum += packet[k] * 256 + packet[k + 1];
  while (sum > 0xffff) sum = (sum % 65536) + Math.floor(sum / 65536);
  packet[10] = (0xffff - sum) >> 8;
  packet[11] = (0xffff - sum) & 255;
}

/** The segments of a super-packet; `fixedId`: all with the identification of the first, as DF packets may have it. */
export function cut(superPacket: Uint8Array, size: number, fixedId: boolean): Uint8Array[] {
  const segments = segmentSlowly(superPacket, size);
  if (!fixedId || superPacket[0] >> 4 !== 4) return segments;
  for (const segment of segments) {
    segment.set(superPacket.slice(4, 6), 4);
    fillHeaderChecksum(segment);
  }
  return segments;
}

/** True when the parts are DF packets of one and the same identification. */
export function hasFixedId(parts: readonly Uint8Array[]): boolean {
  return (
    parts[0][0] >> 4 === 4 && (parts[0][6] & 0x40) !== 0 && parts.every((part) => same(part.slice(4, 6), parts[0].slice(4, 6)))
  );
}

function joins(parts: readonly Uint8Array[], next: Uint8Array, at: number, limits: Limits): boolean {
  const all = [...parts, next];
  const size = payloadLength(parts[0], at);
  const bytes = parts[0].length + all.slice(1).reduce((total, part) => total + payloadLength(part, at), 0);
  if (all.length > limits.segments || bytes > limits.bytes) return false;
  const cuts = cut(merge(all, at), size, hasFixedId(all));
  return cuts.length === all.length && cuts.every((segment, k) => same(segment, all[k]));
}

/** What leaves for a batch of whole IP packets, in order. */
export function coalesceSlowly(batch: readonly Uint8Array[], limits: Limits): Merged[] {
  const out: Merged[] = [];
  const trains: Train[] = [];
  const alone = (bytes: Uint8Array) => out.push({ bytes, segmentSize: 0, parts: [bytes] });
  const close = (train: Train | undefined) => {
    if (train === undefined || !train.open) return;
    train.open = false;
    const [first] = train.parts;
    const at = tcpAt(first);
    if (train.parts.length === 1) alone(first);
    else out.push({ bytes: merge(train.parts, at), segmentSize: payloadLength(first, at), parts: train.parts });
  };
  for (const packet of batch) {
    const at = tcpAt(packet);
    if (at === -2) for (const train of trains) close(train);
    if (at < 0) {
      alone(packet);
      continue;
    }
    const flow = flowOf(packet, at);
    const train = trains.find((one) => one.open && one.flow === flow);
    if (mayMerge(packet, at) && isHeaderRight(packet)) {
      if (train !== undefined && joins(train.parts, packet, at, limits)) {
        train.parts.push(packet);
        const isShort = payloadLength(packet, at) < payloadLength(train.parts[0], at);
        if (isShort || isLast(packet, at) || train.parts.length === limits.segments) close(train);
        continue;
      }
      close(train);
      if (!isLast(packet, at)) {
        trains.push({ flow, parts: [packet], open: true });
        // A train closes at the latest when so many others have begun after it.
        close(trains[trains.length - 1 - limits.trains]);
        continue;
      }
    }
    close(train);
    alone(packet);
  }
  for (const train of trains) close(train);
  return out;
}

function isHeaderRight(packet: Uint8Array): boolean {
  if (packet[0] >> 4 !== 4) return true;
  const copy = packet.slice();
  fillHeaderChecksum(copy);
  return same(copy, packet);
}
