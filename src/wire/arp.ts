/**
 * ARP for IPv4 over Ethernet (RFC 826). `at` is behind the Ethernet header.
 *
 *     0          2          4      5      6           8               14          18              24          28
 *     | hardware | protocol | 6    | 4    | operation | sender MAC 6  | sender IP | target MAC 6  | target IP |
 */
import { WIRE_MALFORMED, WIRE_OK, WIRE_TRUNCATED } from './check.ts';
import { addressText as macText } from './ethernet.ts';
import { addressText as ipText } from './ipv4.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const MALFORMED = WIRE_MALFORMED;
const HARDWARE = 0;
const LENGTHS = 4;
const OPERATION = 6;
const SENDER_MAC = 8;
const SENDER_IP = 14;
const TARGET_MAC = 18;
const TARGET_IP = 24;
const PACKET = 28;
/** Hardware 1 (Ethernet), protocol 0x0800 (IPv4). */
const ETHERNET_IPV4 = 0x00010800;
/** Address lengths 6 and 4. */
const SIX_FOUR = 0x0604;
const REQUEST = 1;
const REPLY = 2;

export const PACKET_LENGTH = PACKET;
/** The hardware address of who speaks, 6 bytes. */
export const SENDER_MAC_AT = SENDER_MAC;
export const OPERATION_REQUEST = REQUEST;
export const OPERATION_REPLY = REPLY;

/** WIRE_OK for Ethernet and IPv4 addresses, whole before `end`. */
export function check(view: DataView, at: number, end: number): number {
  if (end - at < PACKET) return TRUNCATED;
  return view.getInt32(at + HARDWARE) === ETHERNET_IPV4 && view.getUint16(at + LENGTHS) === SIX_FOUR ? OK : MALFORMED;
}

export function operation(view: DataView, at: number): number {
  return view.getUint16(at + OPERATION);
}

/** As int32. */
export function senderAddress(view: DataView, at: number): number {
  return view.getInt32(at + SENDER_IP);
}

/** As int32: the address that a request asks for. */
export function targetAddress(view: DataView, at: number): number {
  return view.getInt32(at + TARGET_IP);
}

/**
 * Makes the reply of the request at `at`, where it lies: who asked becomes the target; the address asked for, at our MAC
 * (`high`: first four bytes as int32, `low`: last two), the sender. The caller turns the Ethernet header around.
 */
export function requestToReply(view: DataView, at: number, high: number, low: number): void {
  const asked = view.getInt32(at + TARGET_IP);
  view.setUint16(at + OPERATION, REPLY);
  view.setInt32(at + TARGET_MAC, view.getInt32(at + SENDER_MAC));
  view.setUint16(at + TARGET_MAC + 4, view.getUint16(at + SENDER_MAC + 4));
  view.setInt32(at + TARGET_IP, view.getInt32(at + SENDER_IP));
  view.setInt32(at + SENDER_MAC, high);
  view.setUint16(at + SENDER_MAC + 4, low);
  view.setInt32(at + SENDER_IP, asked);
}

export interface Arp {
  readonly operation: number;
  readonly senderMac: string;
  readonly sender: string;
  readonly targetMac: string;
  readonly target: string;
}

/** The packet as a plain object, null when `check` refuses it. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Arp | null {
  if (check(view, at, end) !== OK) return null;
  return {
    operation: operation(view, at),
    senderMac: macText(view, at + SENDER_MAC),
    sender: ipText(view, at + SENDER_IP),
    targetMac: macText(view, at + TARGET_MAC),
    target: ipText(view, at + TARGET_IP),
  };
}

export function text(packet: Arp): string {
  if (packet.operation === REQUEST) return `ARP who has ${packet.target}, tell ${packet.sender}`;
  if (packet.operation === REPLY) return `ARP ${packet.sender} is at ${packet.senderMac}`;
  return `ARP operation ${packet.operation}`;
}
