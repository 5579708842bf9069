/**
 * TCP header (RFC 9293 §3.1).
 *
 *     0             2                  4          8                 12            13      14       16         18       20
 *     | source port | destination port | sequence | acknowledgement | data offset | flags | window | checksum | urgent | options
 */
import { WIRE_MALFORMED, WIRE_OK, WIRE_TRUNCATED } from './check.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const MALFORMED = WIRE_MALFORMED;
const SOURCE_PORT = 0;
const DESTINATION_PORT = 2;
const SEQUENCE = 4;
const ACKNOWLEDGEMENT = 8;
const DATA_OFFSET = 12;
const FLAGS = 13;
const WINDOW = 14;
const CHECKSUM = 16;
/** Length without options. */
const HEADER = 20;
const SYN_BIT = 0x02;
const RST_BIT = 0x04;
const ACK_BIT = 0x10;

export const HEADER_LENGTH = HEADER;
export const SOURCE_PORT_AT = SOURCE_PORT;
export const DESTINATION_PORT_AT = DESTINATION_PORT;
export const SEQUENCE_AT = SEQUENCE;
export const ACKNOWLEDGEMENT_AT = ACKNOWLEDGEMENT;
export const DATA_OFFSET_AT = DATA_OFFSET;
export const FLAGS_AT = FLAGS;
export const WINDOW_AT = WINDOW;
/** The virtio-net csum_offset of TCP. */
export const CHECKSUM_AT = CHECKSUM;

export const FIN = 0x01;
export const SYN = SYN_BIT;
export const RST = RST_BIT;
export const PSH = 0x08;
export const ACK = ACK_BIT;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

/** WIRE_OK when the header with its options (20–60 bytes) lies before `end`. */
export function check(view: DataView, at: number, end: number): number {
  const length = end - at;
  if (length < HEADER) return TRUNCATED;
  const header = (view.getUint8(at + DATA_OFFSET) >> 4) << 2;
  return header < HEADER || header > length ? MALFORMED : OK;
}

export function sourcePort(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE_PORT);
}

export function destinationPort(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION_PORT);
}

/** Both ports as one int32: source in the upper half. UDP has the same layout. */
export function ports(view: DataView, at: number): number {
  return view.getInt32(at + SOURCE_PORT);
}

/** As int32. */
export function sequence(view: DataView, at: number): number {
  return view.getInt32(at + SEQUENCE);
}

/** As int32. */
export function acknowledgement(view: DataView, at: number): number {
  return view.getInt32(at + ACKNOWLEDGEMENT);
}

/** Bytes of header with options, 0–60; 20–60 after `check`. */
export function headerLength(view: DataView, at: number): number {
  return (view.getUint8(at + DATA_OFFSET) >> 4) << 2;
}

/** FIN … CWR, one byte. */
export function flags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS);
}

/** A SYN without ACK and RST: the first packet of a connection. `flagByte`: from `flags`. */
export function isInitialSyn(flagByte: number): boolean {
  return (flagByte & (SYN_BIT | ACK_BIT | RST_BIT)) === SYN_BIT;
}

export function window(view: DataView, at: number): number {
  return view.getUint16(at + WINDOW);
}

export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

export function setSourcePort(view: DataView, at: number, value: number): void {
  view.setUint16(at + SOURCE_PORT, value);
}

export function setDestinationPort(view: DataView, at: number, value: number): void {
  view.setUint16(at + DESTINATION_PORT, value);
}

export function setSequence(view: DataView, at: number, value: number): void {
  view.setInt32(at + SEQUENCE, value);
}

export function setFlags(view: DataView, at: number, value: number): void {
  view.setUint8(at + FLAGS, value);
}

export function setChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value);
}

export interface Tcp {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly headerLength: number;
  readonly flags: number;
  readonly window: number;
  readonly checksum: number;
}

/** The header as a plain object, null when `check` refuses it. Sequence numbers unsigned. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Tcp | null {
  if (check(view, at, end) !== OK) return null;
  return {
    sourcePort: sourcePort(view, at),
    destinationPort: destinationPort(view, at),
    sequence: sequence(view, at) >>> 0,
    acknowledgement: acknowledgement(view, at) >>> 0,
    headerLength: headerLength(view, at),
    flags: flags(view, at),
    window: window(view, at),
    checksum: checksum(view, at),
  };
}

const FLAG_NAMES = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'];

/** `SYN,ACK`; `none` when no bit is set. */
export function flagsText(flagByte: number): string {
  return FLAG_NAMES.filter((_, bit) => (flagByte >> bit) & 1).join(',') || 'none';
}

export function text(header: Tcp): string {
  return `TCP ${header.sourcePort} > ${header.destinationPort} ${flagsText(header.flags)} seq ${header.sequence} ack ${header.acknowledgement} win ${header.window}`;
}
