/**
 * Ethernet II header (IEEE 802.3 clause 3.2.6). Offsets count from the start of the frame; no preamble, no check sequence.
 *
 *     0                 6                 12          14
 *     | destination (6) | source (6)      | type (2)  | payload
 */
import { WIRE_OK, WIRE_TRUNCATED } from './check.ts';

// Module-local for speed; see "Constants" in README.md.
const OK = WIRE_OK;
const TRUNCATED = WIRE_TRUNCATED;
const DESTINATION = 0;
const SOURCE = 6;
const TYPE = 12;
const HEADER = 14;
export const ADDRESS_LENGTH = 6;

export const HEADER_LENGTH = HEADER;
export const DESTINATION_AT = DESTINATION;
export const SOURCE_AT = SOURCE;
export const TYPE_AT = TYPE;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
/** IEEE 802.1Q tag; see vlan.ts. */
export const ETHERTYPE_VLAN = 0x8100;
export const ETHERTYPE_IPV6 = 0x86dd;
/** IEEE 802.1ad service tag (outer tag of two). */
export const ETHERTYPE_SERVICE_VLAN = 0x88a8;
/** IEEE 802.1Q tags, of four bytes each: one of the customer, one of the provider (802.1ad). */
const TAG_LENGTH = 4;
const MOST_TAGS = 2;

/** WIRE_OK when the 14 bytes lie before `end`. */
export function check(_view: DataView, at: number, end: number): number {
  return end - at < HEADER ? TRUNCATED : OK;
}

/** EtherType, or the length of an IEEE 802.3 frame when below 0x0600. */
export function type(view: DataView, at: number): number {
  return view.getUint16(at + TYPE);
}

/** Group bit of the destination: broadcast or multicast. */
export function isGroup(view: DataView, at: number): boolean {
  return (view.getUint8(at + DESTINATION) & 1) === 1;
}

/** First four bytes of the destination address as int32; with `destinationLow` a whole address to compare. */
export function destinationHigh(view: DataView, at: number): number {
  return view.getInt32(at + DESTINATION);
}

/** Last two bytes of the destination address. */
export function destinationLow(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION + 4);
}

export function sourceHigh(view: DataView, at: number): number {
  return view.getInt32(at + SOURCE);
}

export function sourceLow(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE + 4);
}

export function setType(view: DataView, at: number, value: number): void {
  view.setUint16(at + TYPE, value);
}

/** Sets the destination from its first four bytes (int32) and last two. */
export function setDestination(view: DataView, at: number, high: number, low: number): void {
  view.setInt32(at + DESTINATION, high);
  view.setUint16(at + DESTINATION + 4, low);
}

export function setSource(view: DataView, at: number, high: number, low: number): void {
  view.setInt32(at + SOURCE, high);
  view.setUint16(at + SOURCE + 4, low);
}

/** Sends the frame back: the old source becomes destination, `high`/`low` (our address) the source. */
export function turnAround(view: DataView, at: number, high: number, low: number): void {
  setDestination(view, at, sourceHigh(view, at), sourceLow(view, at));
  setSource(view, at, high, low);
}

export interface Ethernet {
  readonly destination: string;
  readonly source: string;
  readonly type: number;
}

/** The header as a plain object, null when it is not whole. Slow: for people and tests. */
export function parse(view: DataView, at: number, end: number): Ethernet | null {
  if (check(view, at, end) !== OK) return null;
  return {
    destination: addressText(view, at + DESTINATION),
    source: addressText(view, at + SOURCE),
    type: type(view, at),
  };
}

/** `00:00:5e:00:53:01` from the six bytes at `at`. */
export function addressText(view: DataView, at: number): string {
  const parts: string[] = [];
  for (let i = 0; i < ADDRESS_LENGTH; i++)
    parts.push(
      view
        .getUint8(at + i)
        .toString(16)
        .padStart(2, '0'),
    );
  return parts.join(':');
}

export function text(header: Ethernet): string {
  return `Ethernet ${header.source} > ${header.destination} type 0x${header.type.toString(16).padStart(4, '0')}`;
}

/**
 * Where the IP header starts in the frame from `at` to `end`, behind at most two VLAN tags; −1 when it carries no IP. For captures: the packet
 * path walks the same way with its drop reasons (pipeline/classify.ts).
 */
export function findNetwork(view: DataView, at: number, end: number): number {
  let typeAt = at + TYPE_AT;
  for (let tags = 0; tags <= MOST_TAGS; tags++) {
    if (typeAt + 2 > end) return -1;
    const type = view.getUint16(typeAt);
    if (type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6) return typeAt + 2;
    if (type !== ETHERTYPE_VLAN && type !== ETHERTYPE_SERVICE_VLAN) return -1;
    typeAt += TAG_LENGTH;
  }
  return -1;
}
