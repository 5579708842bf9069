/**
 * VLAN tag (IEEE 802.1Q §9.6), between the Ethernet addresses and the EtherType of what follows. `at` is where the tag's control bytes
 * start: behind EtherType 0x8100 or 0x88a8, that is Ethernet header + 14 for the first tag.
 *
 *     0                          2      4
 *     | priority 3, DEI 1, id 12 | type | payload
 */
import { WIRE_OK, WIRE_TRUNCATED } from './check.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const CONTROL = 0;
const TYPE = 2;
const HEADER = 4;
const VLAN = 0x8100;
const SERVICE_VLAN = 0x88a8;

export const HEADER_LENGTH = HEADER;

/** WIRE_OK when the 4 bytes lie before `end`. */
export function check(_view: DataView, at: number, end: number): number {
  return end - at < HEADER ? TRUNCATED : OK;
}

/** True for an EtherType that a tag follows. */
export function isTag(etherType: number): boolean {
  return etherType === VLAN || etherType === SERVICE_VLAN;
}

/** VLAN number, 0–4095; 0 carries only a priority. */
export function id(view: DataView, at: number): number {
  return view.getUint16(at + CONTROL) & 0xfff;
}

export function priority(view: DataView, at: number): number {
  return view.getUint8(at + CONTROL) >> 5;
}

/** EtherType of what follows the tag. */
export function type(view: DataView, at: number): number {
  return view.getUint16(at + TYPE);
}

/** Writes the tag. */
export function write(view: DataView, at: number, priorityBits: number, vlanId: number, etherType: number): void {
  view.setUint16(at + CONTROL, (priorityBits << 13) | (vlanId & 0xfff));
  view.setUint16(at + TYPE, etherType);
}

export interface Vlan {
  readonly priority: number;
  readonly id: number;
  readonly type: number;
}

/** The tag as a plain object, null when it is not whole. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Vlan | null {
  if (check(view, at, end) !== OK) return null;
  return { priority: priority(view, at), id: id(view, at), type: type(view, at) };
}

export function text(header: Vlan): string {
  return `VLAN ${header.id} priority ${header.priority} type 0x${header.type.toString(16).padStart(4, '0')}`;
}
